"""Warnings about a recipe before it trains: settings that are likely mistakes."""

from whence.data import Dataset
from whence.models.kinds import BigramConfig, NGramConfig
from whence.runs.recipe import Recipe, kind_of
from whence.train.optimizers import OPTIMIZERS

# The learning rates that models of this size are trained with, from the lowest to the highest.
RATES = {
    "muon": (3e-3, 0.2),
    "adamw": (3e-5, 2e-2),
    "sgd": (1e-3, 3.0),
}

FEW_WORDS = 10_000


def remarks(recipe: Recipe, dataset: Dataset | None = None) -> list[str]:
    """Return a sentence for each setting that is likely a mistake.

    Args:
        recipe: what is going to be trained.
        dataset: its tokens, where they are there.

    Example:
        >>> from whence.runs.recipe import Recipe
        >>> from whence.train.optimizers import MuonConfig
        >>> remarks(Recipe(optimizer=MuonConfig(learning_rate=3e-4)))[0].partition(":")[0]
        'a learning rate of 0.0003 is far below what muon is used with'
    """
    if isinstance(recipe.model, NGramConfig):  # it counts, at no rate
        return _sentences(recipe, dataset)
    return [
        *_sentences(recipe, dataset),
        *_rate(recipe),
        *_warmup(recipe),
        *_window(recipe, dataset),
    ]


def _sentences(recipe: Recipe, dataset: Dataset | None) -> list[str]:
    """Few words are counted to be looked at, as a textbook has it: sentence by sentence."""
    counts = isinstance(recipe.model, NGramConfig | BigramConfig)
    if not counts or recipe.data.tokenizer != "words" or dataset is None:
        return []
    if len(dataset.train) > FEW_WORDS:
        return []
    return [
        "spaces and marks are words here, too, so that text can be given back to the byte: "
        "'whence count FILE' counts the words of sentences, with start and end marks, as textbooks "
        "do"
    ]


def _rate(recipe: Recipe) -> list[str]:
    kind, rate = kind_of(recipe.optimizer, OPTIMIZERS), recipe.optimizer.learning_rate
    low, high = RATES[kind]
    if low <= rate <= high:
        return []
    side = "below" if rate < low else "above"
    others = [name for name, (a, b) in RATES.items() if a <= rate <= b and name != kind]
    hint = f"; it suits {others[0]} (--optimizer {others[0]})" if others else ""
    return [
        f"a learning rate of {rate:g} is far {side} what {kind} is used with: "
        f"{low:g} to {high:g}{hint}"
    ]


def _warmup(recipe: Recipe) -> list[str]:
    warmup = recipe.schedule.warmup
    highest = max(recipe.schedule.factor(step, recipe.steps) for step in _some(recipe.steps))
    if warmup <= recipe.steps or highest >= 0.999:
        return []
    return [
        f"schedule.warmup is {warmup:,} steps and the run has {recipe.steps:,}: the learning rate "
        f"rises to {highest:.0%} of its peak at most; give a shorter warm-up or more steps"
    ]


def _some(steps: int) -> range:
    return range(0, steps, max(1, steps // 1000))


def _window(recipe: Recipe, dataset: Dataset | None) -> list[str]:
    if dataset is None or not len(dataset.validation):
        return []
    window = getattr(recipe.model, "context_length", None)
    if window is None or len(dataset.validation) > window:
        return []
    return [
        f"the validation part has {len(dataset.validation):,} tokens, fewer than one window of "
        f"{window:,}: its loss says little"
    ]
