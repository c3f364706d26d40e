"""How a program leaves a loop: by an exception that nothing catches, or by SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Departures:
    """Handles both, then calls the handlers that were there before.

    Args:
        error: is given an exception.
        terminated: is called at SIGTERM.
        close: is called where the program ends after it.
    """

    def __init__(
        self,
        error: Callable[[BaseException], None],
        terminated: Callable[[], None],
        close: Callable[[], None],
    ):
        self._error, self._terminated, self._close = error, terminated, close
        self._closed = False
        self._excepthook = sys.excepthook
        sys.excepthook = self._at_exception
        self._earlier = None
        if threading.current_thread() is threading.main_thread():
            self._earlier = signal.getsignal(signal.SIGTERM)
            if self._earlier is not None:  # None: one that Python didn't set and can't put back
                signal.signal(signal.SIGTERM, self._at_signal)

    def close(self) -> None:
        """Restore the previous handlers; ones installed since then stay."""
        if self._closed:
            return
        self._closed = True
        if sys.excepthook == self._at_exception:
            sys.excepthook = self._excepthook
        mine = self._earlier is not None and signal.getsignal(signal.SIGTERM) == self._at_signal
        if mine and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._earlier)

    def _at_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, Exception) and not self._closed:
            self._error(error)
            self._close()
        self._excepthook(kind, error, trace)

    def _at_signal(self, number: int, frame: FrameType | None) -> None:
        earlier = self._earlier
        if not self._closed:
            self._terminated()
        if callable(earlier):  # it may well go on training: so do we
            earlier(number, frame)
        elif earlier == signal.SIG_DFL:
            self._close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
