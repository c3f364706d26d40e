"""What a model is trained to do: one file for each task, and the table of who does which.

A task says what differs between kinds of runs: batches, loss, measure, and how the model answers.
"""

from whence.data import Dataset, Source
from whence.errors import WhenceError
from whence.models.kinds import kind_for
from whence.runs.recipe import Recipe
from whence.runs.tasks.counted import Counted
from whence.runs.tasks.labels import Labels
from whence.runs.tasks.pairs import Pairs
from whence.runs.tasks.prior import OnCounts
from whence.runs.tasks.text import Text

# The tasks by the names that the table of kinds of model uses.
TASKS: dict[str, type[Text]] = {
    "text": Text,
    "counted": Counted,
    "on counts": OnCounts,
    "pairs": Pairs,
    "labels": Labels,
}


def task_of(recipe: Recipe, dataset: Dataset) -> Text:
    """Return what a recipe's model is trained to do on a text.

    Args:
        recipe: says which model.
        dataset: the text's tokens.

    Raises:
        WhenceError: where the text or the recipe doesn't suit the model.
    """
    return TASKS[kind_for(recipe.model).task](recipe, dataset)


def settle(recipe: Recipe, source: Source) -> Recipe:
    """Return a recipe with what its model must be told of the text, such as the classes there are.

    Raises:
        WhenceError: where the text doesn't suit the model.
    """
    task = TASKS[kind_for(recipe.model).task]
    if recipe.data.documents and not task.is_prose:
        raise WhenceError(
            "data.documents ends each document of running text with a token, but this model's text "
            "has one item per line: leave it out."
        )
    return task.settle(recipe, source)


__all__ = ["TASKS", "Text", "settle", "task_of"]
