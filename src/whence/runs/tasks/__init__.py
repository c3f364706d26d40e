"""What a model is trained to do: one file for each task, and the table of who does which.

A task says what differs between kinds of runs: batches, loss, measure, and how the model answers.
"""

from whence.data import Dataset, Source
from whence.models import NGramConfig, NGramGPTConfig, Seq2SeqConfig
from whence.models.encoder import ClassifierConfig
from whence.runs.recipe import Recipe
from whence.runs.tasks.counted import Counted
from whence.runs.tasks.labels import Labels
from whence.runs.tasks.pairs import Pairs
from whence.runs.tasks.prior import OnCounts
from whence.runs.tasks.text import Text

# The task of each kind of model that does something else than predict a text by the loop.
_TASKS: dict[type, type[Text]] = {
    NGramConfig: Counted,
    NGramGPTConfig: OnCounts,
    Seq2SeqConfig: Pairs,
    ClassifierConfig: Labels,
}


def task_of(recipe: Recipe, dataset: Dataset) -> Text:
    """Return what a recipe's model is trained to do on a text.

    Args:
        recipe: says which model.
        dataset: the text's tokens.

    Raises:
        WhenceError: where the text or the recipe doesn't suit the model.
    """
    return _TASKS.get(type(recipe.model), Text)(recipe, dataset)


def settle(recipe: Recipe, source: Source) -> Recipe:
    """Return a recipe with what its model must be told of the text, such as the classes there are.

    Raises:
        WhenceError: where the text doesn't suit the model.
    """
    return _TASKS.get(type(recipe.model), Text).settle(recipe, source)


__all__ = ["Text", "settle", "task_of"]
