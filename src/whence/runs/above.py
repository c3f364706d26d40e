"""What is asked of a run and answered by a layer above: `whence` itself gives it, by name."""

from collections.abc import Callable
from typing import Any

_GIVEN: dict[str, Callable[..., Any]] = {}


def give(name: str, answer: Callable[..., Any]) -> None:
    """Say what answers a question.

    Args:
        name: `trace` for a moment, `view` for a run.
        answer: is called with the moment or run, and what was asked with it.
    """
    _GIVEN[name] = answer


def given(name: str) -> Callable[..., Any]:
    """Return what answers a question.

    Example:
        >>> import whence
        >>> callable(given("trace"))
        True
    """
    return _GIVEN[name]
