"""The scalar engine beside micrograd: a step of the moons demo, a small GPT, memory per number.

Run with `python -m benchmarks scalar`. Contestants take turns, each in a process of its own, and
CPU seconds are counted, so that another program cannot slow one of them down; a step is zero_grad,
forward, backward and the SGD update. Replays are warm; what recording costs is a row of its own.
"""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import micrograd.engine
import numpy as np

import whence.scalar
from benchmarks.scalar_eager import (
    RATE,
    Chain,
    Step,
    demo_loss,
    gpt_step,
    moons,
    moons_step,
    sample_loss,
)
from benchmarks.scalar_gpt import WINDOW, Grid, windows
from benchmarks.timing import apart, ratio, table
from whence.models.small.gpt import SmallGPT, next_token_loss
from whence.scalar import SGD, Matrix, Value, jit

SHIPPED, COLLECTOR_OFF = "micrograd as it ships", "micrograd, collector off"
REPEATS = 100  # replays that are timed as one call: a single one is too short for the clock
OFF = ", collector off"


def contestants(step: Callable[[str, bool], Step], other: str) -> dict[str, Callable[[], Step]]:
    """The plain steps of a table; the last two of whence's own `other` way to write it."""
    codes = {"micrograd": "micrograd", "Value, the same code": "Value"}
    codes[f"Value, whence's {other}"] = other
    return {
        {"micrograd": SHIPPED}.get(name, name) if on else name + OFF: partial(step, code, on)
        for name, code in codes.items()
        for on in (True, False)
    }


def replayed_step(loss_fn: Any, model: Any, batch: Any) -> Callable[[], float]:
    """One step with a compiled loss, parameters kept in `Value`s."""
    optimizer = SGD(model.parameters(), RATE)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        return loss.data

    return step


def array_step(loss_fn: Any, model: Any, batch: Any) -> Callable[[], float]:
    """One step with a compiled loss, parameters kept in an array."""
    function, parameters, numbers = loss_fn.arrays(model, batch)

    def step() -> float:
        nonlocal parameters
        loss, gradient = function(parameters, numbers)
        parameters = parameters - RATE * gradient
        return loss

    return step


def moons_replay(each: bool, arrays: bool) -> Step:
    """Replays of the moons demo."""
    loss = jit(sample_loss, each=True) if each else jit(demo_loss)
    X, y = moons()
    return repeated((array_step if arrays else replayed_step)(loss, Chain(Value), (X, y)))


def gpt_replay(each: bool, arrays: bool) -> Step:
    """Replays of the small GPT: one window, or 32 side by side."""
    sample, *others = windows(33)
    loss = jit(next_token_loss, each=each)
    make = array_step if arrays else replayed_step
    return repeated(make(loss, SmallGPT(Matrix), np.array(others) if each else sample))


def repeated(step: Step) -> Step:
    """The step as often as makes a time."""

    def run() -> float:
        return [step() for _ in range(REPEATS)][-1]

    return run


def replays(step: Callable[[bool, bool], Step]) -> dict[str, Callable[[], Step]]:
    """The four ways to replay."""
    return {
        f"replayed{side}, parameters in {place}": partial(step, each, arrays)
        for each, side in ((False, ""), (True, " side by side"))
        for arrays, place in ((False, "Values"), (True, "an array"))
    }


def speed(
    plain: dict[str, Callable[[], Step]],
    replayed: dict[str, Callable[[], Step]],
    rounds: int,
    nodes: int,
    together: int = 1,
) -> list[dict[str, Any]]:
    """Medians, nanoseconds a node, and how many times as fast as micrograd.

    Args:
        plain: steps in Python.
        replayed: steps that stand for `REPEATS`.
        rounds: turns of each.
        nodes: numbers in the graph of a step.
        together: how many steps' work one replay side by side does.
    """
    seconds = apart({**plain, **replayed}, rounds, calls=1, clock=time.process_time)
    for name in replayed:
        share = REPEATS * (together if "side by side" in name else 1)
        seconds[name] = [t / share for t in seconds[name]]
    return [
        {
            "a step of": name,
            "ms": f"{1e3 * statistics.median(times):.4g}",
            "ns/node": f"{1e9 * statistics.median(times) / nodes:.3g}",
            "times as fast": f"{1 / ratio(times, seconds[reference]):,.1f}",
        }
        for name, times in seconds.items()
        for reference in [COLLECTOR_OFF if name.endswith(OFF) else SHIPPED]
    ]


def moons_speed(rounds: int = 5) -> list[dict[str, Any]]:
    """The moons demo: MLP 2-16-16-1, 100 samples, full batch."""
    _agree(moons_step, 1e-12)
    X, y = moons()
    nodes = count_nodes(Chain(Value), (X.tolist(), y.tolist()))
    print(f"{nodes:,} numbers in the graph of a step, medians of {rounds} rounds")
    return speed(contestants(moons_step, "neurons"), replays(moons_replay), rounds, nodes)


def _agree(step: Callable[[str, bool], Step], tolerance: float) -> None:
    losses = [step(code, True)() for code in ("micrograd", "Value")]
    assert abs(losses[0] - losses[1]) < tolerance


def count_nodes(model: Any, batch: Any) -> int:
    """How many numbers the plain graph of a step has."""
    inputs = [[Value(x) for x in row] for row in batch[0]]
    loss = demo_loss(model, (inputs, batch[1]))
    order = whence.scalar.topological(loss)
    leaves = {id(s) for v in order for s in v.inputs if s.op is None}
    return len(order) + len(leaves)


def recording_cost() -> list[dict[str, Any]]:
    """What recording costs once, the kernels being compiled already."""
    X, y = moons()
    rows = []
    for name, each, loss, batch in (
        ("the whole batch", False, demo_loss, (X.tolist(), y.tolist())),
        ("one sample", True, sample_loss, (X, y)),
    ):
        model, times = Chain(Value), []
        for _ in range(3):
            fast = jit(loss, each=each)
            start = time.process_time()
            fast(model, batch)
            times.append(time.process_time() - start)
        rows.append({"recording": name, "ms": f"{1e3 * statistics.median(times):.4g}"})
    return rows


def gpt_speed(rounds: int = 3) -> list[dict[str, Any]]:
    """A GPT of one layer, width 16, 4 heads, window 16, on names, one window a step."""
    _agree(gpt_step, 1e-9)
    loss = next_token_loss(SmallGPT(partial(Grid, value=Value)), windows(1)[0])
    nodes = len(whence.scalar.topological(loss))
    print(
        f"{nodes:,} operations in the graph of a window of {WINDOW}, medians of {rounds} rounds; "
        "32 windows side by side: the time of one"
    )
    return speed(contestants(gpt_step, "Matrix"), replays(gpt_replay), rounds, nodes, together=32)


def memory() -> list[dict[str, Any]]:
    """Bytes a number takes, before and after backward()."""
    rows = []
    for name, value in (("micrograd", micrograd.engine.Value), ("Value", Value)):
        gc.collect()
        x = value(1.5)
        tracemalloc.start()
        v = x
        for _ in range(900):
            v = v * x
        built = tracemalloc.get_traced_memory()[0]
        v.backward()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        rows.append(
            {
                "engine": name,
                "bytes a node": f"{built / 900:.0f}",
                "with its gradient": f"{after / 900:.0f}",
            }
        )
    rows.append({"engine": "replayed", "bytes a node": "8", "with its gradient": "16"})
    return rows


def main() -> None:
    sections: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "The moons demo": moons_speed,
        "A scalar GPT": gpt_speed,
        "Recording": recording_cost,
        "Memory": memory,
    }
    for title, run in sections.items():
        print(f"\n{title}")
        table(run())


if __name__ == "__main__":
    main()
