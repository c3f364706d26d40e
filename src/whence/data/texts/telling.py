"""Progress of reading and tokenising a text, for whoever waits for it."""

from collections.abc import Callable

# Told what is done to a text, and how many characters are behind it, of how many; it may raise.
Preparing = Callable[[str, int, int], None]


def tell_nobody(what: str, done: int, total: int) -> None:
    """Report to nobody."""
