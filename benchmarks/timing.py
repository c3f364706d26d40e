"""Timing that is fair on a busy machine: contestants take turns, and ratios come from one run."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection

Call = Callable[[], object]


def interleaved(
    contestants: dict[str, Call], rounds: int, warmup: int = 3
) -> dict[str, list[float]]:
    """Seconds of each call: every round calls each contestant once."""
    return _in_turns(lambda name: seconds_of(contestants[name]), list(contestants), rounds, warmup)


def apart(
    makers: dict[str, Callable[[], Call]],
    rounds: int,
    calls: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """As `interleaved`, each contestant in a process of its own, as a user runs it.

    Memory, threads and settings of PyTorch are each one's own. A turn is some calls in a row, their
    mean is what counts; a quarter more ahead of them warm the caches, let the threads of the
    contestant before fall asleep, and its own find a core each.

    Args:
        makers: each is called in its process and gives the call that is timed; a module's function,
            or a `partial` of one.
        rounds: how many turns each has.
        calls: how many calls a turn times.
        clock: `time.process_time` counts only what the process itself worked.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        ends: dict[str, Connection] = {}
        for name, make in makers.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(make, calls, clock, theirs), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.send, False)
            ends[name] = ours

        def turn(name: str) -> float:
            ends[name].send(True)
            return ends[name].recv()

        return _in_turns(turn, list(makers), rounds, warmup=1)


def _in_turns(
    turn: Callable[[str], float], names: list[str], rounds: int, warmup: int
) -> dict[str, list[float]]:
    """Seconds of each turn: every round gives each name one, after some that don't count."""
    for name in names:
        for _ in range(warmup):
            turn(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seconds[name].append(turn(name))
    return seconds


def _serve(
    make: Callable[[], Call], calls: int, clock: Callable[[], float], pipe: Connection
) -> None:
    """A contestant's process: take a turn for each word that comes."""
    call = make()
    while pipe.recv():
        for _ in range(max(1, calls // 4)):
            call()
        pipe.send(statistics.fmean(seconds_of(call, clock) for _ in range(calls)))
        gc.collect()  # between turns: a contestant may run with the collector off


def seconds_of(call: Call, clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes."""
    start = clock()
    call()
    return clock() - start


def ratio(seconds: list[float], reference: list[float]) -> float:
    """The median over the rounds of seconds / reference, both taken in the same round."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def table(rows: list[dict]) -> None:
    """Print rows as aligned columns."""
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
