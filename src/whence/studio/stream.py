"""Server-sent events: what a training adds to its record, to all the pages that watch it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.records.curves import Curves, thin
from whence.studio.answers.training.runs import curves_of
from whence.studio.processes.worker import state_of
from whence.studio.wire import split

FASTEST = 1 / 5  # seconds between two frames, those of all pages together
SLOWEST = 1.0  # and those of one page
STATE = 0.5  # seconds between two looks at what the run is doing
BUCKETS = 60
KEEP_ALIVE = 10.0
AGAIN = 2.0  # seconds until a page without a connection of its own comes again
HELD = 4  # connections: a browser has six to one server, and its pages must still be able to ask


class Streams:
    """The pages that watch; `close` sends them away, so that the server can end."""

    def __init__(self):
        self.closed = False
        self.held = 0
        self._came: list[float] = []  # when pages came for one event
        self._states: dict[Path, tuple[float, tuple[str, str | None, int]]] = {}

    def close(self) -> None:
        """End all streams."""
        self.closed = True

    def watching(self) -> int:
        """Return how many pages watch, those that come for one event among them."""
        self._came = [at for at in self._came if time.monotonic() - at < AGAIN]
        return self.held + len(self._came)

    async def follow(self, path: Path, start: int) -> AsyncIterator[str]:
        """Give a page one event for each frame in which something is new.

        Where many pages watch, the later ones get one event and come again after two seconds.

        Args:
            path: the run's folder.
            start: how many steps the page knows.
        """
        curves = await asyncio.to_thread(curves_of, path)
        holds = self.held < HELD
        self.held += holds
        if not holds:
            self._came.append(time.monotonic())
        known: tuple[Any, ...] = ()
        told = 0.0
        rewritten, done, evals, samples = curves.rewritten, min(start, curves.n_steps), 0, 0
        try:
            while not self.closed:
                curves.refresh()
                state = await self._state(path, curves)
                if curves.rewritten != rewritten or curves.n_steps < done:
                    rewritten, done, evals, samples = curves.rewritten, curves.n_steps, 0, 0
                    yield _event({"rewritten": True}, done)
                now = (curves.n_steps, len(curves.evals), len(curves.samples), state)
                if now != known:
                    frame = _frame(curves, done, evals, samples, state)
                    yield _event({**frame, "watching": self.watching()}, curves.n_steps)
                    done, evals, samples = now[:3]
                    known, told = now, time.monotonic()
                    if not holds:
                        return  # the page comes again
                elif time.monotonic() - told > KEEP_ALIVE:
                    told = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(min(SLOWEST, FASTEST * self.watching()))
        finally:
            self.held -= holds

    async def _state(self, path: Path, curves: Curves) -> tuple[str, str | None, int]:
        """What the run is doing, looked up twice a second for all pages together."""
        at, found = self._states.get(path, (0.0, ("new", None, 0)))
        if time.monotonic() - at > STATE:
            found = await asyncio.to_thread(_look, path, curves)
            self._states[path] = (time.monotonic(), found)
        return found


def _look(path: Path, curves: Curves) -> tuple[str, str | None, int]:
    try:
        run = Run.open(path)
        return *state_of(run, curves), run.recipe.steps
    except WhenceError as error:
        return "damaged", str(error), 0


def _frame(
    curves: Curves, done: int, evals: int, samples: int, state: tuple[str, str | None, int]
) -> dict[str, Any]:
    columns = {name: curves.since(name, done) for name in ("loss", "rate", "grad_norm")}
    at = thin(columns["loss"], BUCKETS)
    steps = state[2]
    return {
        "from": done,
        "done": done + len(columns["loss"]),
        "step": (at + done).tolist(),
        **{name: values[at].tolist() for name, values in columns.items()},
        "evals": [e for e in curves.evals[evals:] if not e["whole"]],
        "samples": curves.samples[samples:][-50:],
        "best": curves.best(),
        "state": state[0],
        "trouble": state[1],
        "steps": steps,
        "tokens_per_second": curves.tokens_per_second,
        "mean_tokens_per_second": curves.mean_tokens_per_second,
        "seconds_left": curves.seconds_left(steps),
    }


def _event(frame: dict[str, Any], done: int) -> str:
    return f"id: {done}\nretry: {1000 * AGAIN:.0f}\ndata: {split(frame)[0]}\n\n"
