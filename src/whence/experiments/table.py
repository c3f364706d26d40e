"""The experiments by name."""

import importlib
from collections.abc import Callable

from whence.errors import WhenceError
from whence.experiments.common import Report

# name: (module:function, what it asks)
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "order": ("inside.order:order", "does word order matter when positions are taken away?"),
    "memory": ("inside.memory:memory", "how far back does each kind of model remember?"),
    "parts": ("inside.parts:parts", "what does each part of a Transformer's block buy?"),
    "first": ("text.first:first", "which word of a sentence is learned first?"),
    "smoothing": ("text.smoothing:smoothing", "does a trigram with add-one beat the bigram?"),
    "bigram": ("text.counted:bigram", "does the loop reach the counted bigram?"),
    "induction": ("inside.induction:induction", "when does copying from the context appear?"),
    "it": ("text.words:it", "what does 'it' read?"),
    "senses": ("text.words:senses", "does a word with two senses get two vectors?"),
    "adam": ("training.adam:why_adam", "why does Adam beat plain SGD?"),
    "scaling": ("training.scaling:scaling", "what do parameters, data and compute buy?"),
    "texts": ("text.texts:texts", "what does the training text do to the model?"),
}


def experiment(name: str) -> Callable[..., Report]:
    """Find an experiment.

    Args:
        name: one of `EXPERIMENTS`.

    Raises:
        WhenceError: there is none of that name.

    Example:
        >>> experiment("order").__name__
        'order'
    """
    if name not in EXPERIMENTS:
        import difflib

        near = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(EXPERIMENTS)}."
        raise WhenceError(f"there is no experiment {name!r}: {hint}")
    module, _, function = EXPERIMENTS[name][0].partition(":")
    return getattr(importlib.import_module(f"whence.experiments.{module}"), function)
