"""Connections can't block the studio's pages: their number and their waiting time are limited."""

import asyncio
import sys
import time
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0  # seconds from a request's first byte, or the connection, to its last byte
STRANGERS = 24  # connections that haven't shown the page's secret; the oldest goes first
MOST = 96  # connections of all kinds
AT_ONCE = 16  # that are taken in one go, before any of them is looked at
EVERY = 60.0  # seconds between two lines about connections
KNOWN = "whence.known"


class Connection(H11Protocol):
    """A connection that is closed if its request doesn't arrive in time.

    Anyone on this machine can connect. One who never shows the secret (`known`) holds one of a few
    places, and the oldest of those makes room for the next; so a browser always gets in.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.known = False
        self.since = time.monotonic()
        self._patience: asyncio.TimerHandle | None = None
        app = self.app

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "extensions": {KNOWN: self.know}}, receive, send)

        self.app = cast(Any, told)

    def know(self) -> None:
        """Count the connection among those of a page."""
        self.known = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a narrower type: TCP
        """Take a place; if there is none, close the oldest unknown connection."""
        super().connection_made(transport)
        others = cast(set[Connection], self.connections)
        held = [each for each in others if not each.transport.is_closing()]
        strangers = [each for each in held if not each.known]
        if len(strangers) > STRANGERS or len(held) > MOST:
            min(strangers, key=lambda each: each.since).drop("too many connections")
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on; the time runs until the request is whole."""
        super().data_received(data)
        whole = self.cycle is not None and not self.cycle.more_body
        if whole and not self.cycle.response_complete:
            self._stop_waiting()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """An answered request no longer waits; from here on the keep-alive time runs."""
        self._stop_waiting()
        super().on_response_complete()

    def drop(self, why: str) -> None:
        """Close the connection at once."""
        SAID.line(f"the studio closed a connection: {why}")
        self._stop_waiting()
        self.transport.abort()

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(
                PATIENCE, self.drop, f"no whole request in {PATIENCE:g} s"
            )

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class Said:
    r"""Lines on standard error, at most one a minute; those between are counted.

    Example:
        >>> import io
        >>> said = Said(io.StringIO())
        >>> said.line("no"), said.line("no"), said.file.getvalue()
        (None, None, 'whence: no\n')
    """

    def __init__(self, file: Any = None):
        self.file = file
        self._at = -EVERY
        self._unsaid = 0

    def line(self, text: str) -> None:
        """Say something, or count it."""
        if time.monotonic() - self._at < EVERY:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid:,} times the like since the last line)" if self._unsaid else ""
        print(f"whence: {text}{more}", file=self.file or sys.stderr, flush=True)
        self._at, self._unsaid = time.monotonic(), 0

    def of_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report an event loop's errors, such as that it is out of descriptors."""
        error = context.get("exception")
        self.line(f"the studio: {error or context['message']}")


SAID = Said()
