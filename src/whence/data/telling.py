"""How far the reading and cutting of a text has come, told to who waits for it."""

from collections.abc import Callable

# Told what is done to a text, and how many characters are behind it, of how many; it may raise.
Preparing = Callable[[str, int, int], None]


def tell_nobody(what: str, done: int, total: int) -> None:
    """Tell nobody."""
