"""Ctrl-C from the first moment: it counts even if something swallows the KeyboardInterrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = False


@contextmanager
def remembered() -> Iterator[None]:
    """Raise KeyboardInterrupt at a Ctrl-C, as Python does, and remember that there was one.

    Code that is imported may catch the exception by accident. `seen()` then still says so.
    """
    global _seen
    _seen = False
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # someone else listens, or Ctrl-C is to be ignored
        return
    signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def seen() -> bool:
    """Whether Ctrl-C was pressed since the command began."""
    return _seen


def _note(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
