"""The scalar engine beside micrograd: a step of the moons demo, a small GPT, memory per number.

Run with `python -m benchmarks scalar`. Contestants take turns in one process, and CPU seconds are
counted, so that another program cannot slow one of them down; a step is zero_grad,
forward, backward and the SGD update. Replays are warm; what recording costs is a row of its own.
"""

import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import micrograd.engine
import micrograd.nn
import numpy as np

import whence.scalar
from benchmarks.scalar_gpt import WINDOW, Grid, extended_micrograd, numbers_of, windows
from benchmarks.timing import ratio, table
from whence.models.small_gpt import SmallGPT, next_token_loss
from whence.scalar import SGD, Matrix, Value, compile
from whence.scalar.matrix import values_of

RATE, DECAY = 0.01, 1e-4


def moons(n: int = 100, seed: int = 1337) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles with noise, labels −1 and 1."""
    draw = np.random.default_rng(seed)
    angle = np.pi * draw.random(n)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    x = np.where(y > 0, np.cos(angle), 1.0 - np.cos(angle))
    z = np.where(y > 0, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, z], axis=1) + 0.1 * draw.normal(size=(n, 2)), y


class Chain:
    """The demo's network with its neurons as micrograd writes them, whatever `Value` is."""

    def __init__(self, value: Any) -> None:
        random.seed(1337)
        sizes = [2, 16, 16, 1]
        self.layers = [
            [([value(random.uniform(-1, 1)) for _ in range(a)], value(0)) for _ in range(b)]
            for a, b in pairwise(sizes)
        ]
        self.value = value

    def parameters(self) -> list[Any]:
        """Every weight and bias."""
        return [p for layer in self.layers for w, b in layer for p in (*w, b)]

    def __call__(self, x: Any) -> Any:
        """The score of one point."""
        for k, layer in enumerate(self.layers):
            acts = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            x = [act.relu() for act in acts] if k < len(self.layers) - 1 else acts
        return x[0]


def demo_loss(model: Any, batch: Any) -> Any:
    """The demo's loss, max-margin plus L2, over the whole batch."""
    rows, labels = batch
    scores = [model(row) for row in rows]
    losses = [(1 + -y * score).relu() for y, score in zip(labels, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + DECAY * sum(p * p for p in model.parameters())


def sample_loss(model: Any, sample: Any) -> Any:
    """The same of one sample; the mean over samples is the demo's loss."""
    row, y = sample
    return (1 + -y * model(row)).relu() + DECAY * sum(p * p for p in model.parameters())


def eager_step(model: Any, batch: Any, loss_fn: Any = demo_loss) -> Callable[[], float]:
    """One step in plain Python."""
    parameters = model.parameters()
    value = type(parameters[0])

    def step() -> float:
        rows, labels = batch
        inputs = [[value(x) for x in row] for row in rows]
        loss = loss_fn(model, (inputs, labels))
        for p in parameters:
            p.grad = 0
        loss.backward()
        for p in parameters:
            p.data -= RATE * p.grad
        return loss.data

    return step


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


def collecting(step: Callable[[], float], on: bool) -> Callable[[], float]:
    """The step with Python's cyclic collector on or off."""

    def run() -> float:
        (gc.enable if on else gc.disable)()
        try:
            return step()
        finally:
            gc.enable()

    return run


def compare(
    slow: dict[str, Callable[[], float]], fast: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each contestant, in turn; the fast ones as the median of 100 calls a turn."""
    seconds: dict[str, list[float]] = {name: [] for name in (*slow, *fast)}
    for call in fast.values():
        for _ in range(20):
            call()
    for _ in range(rounds):
        for name, call in slow.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
            if "off" in name:
                gc.collect()  # what it left behind must not slow down the next one
        for name, call in fast.items():
            calls = []
            for _ in range(100):
                start = time.process_time()
                call()
                calls.append(time.process_time() - start)
            seconds[name].append(statistics.median(calls))
    return seconds


def rows_of(
    seconds: dict[str, list[float]], references: dict[str, str], nodes: int
) -> list[dict[str, Any]]:
    """Medians, nanoseconds a node, and how many times as fast as the reference."""
    return [
        {
            "a step of": name,
            "ms": f"{1e3 * statistics.median(times):.4g}",
            "ns/node": f"{1e9 * statistics.median(times) / nodes:.3g}",
            "times as fast": f"{1 / ratio(times, seconds[references.get(name, SHIPPED)]):,.1f}",
        }
        for name, times in seconds.items()
    ]


SHIPPED, COLLECTOR_OFF = "micrograd as it ships", "micrograd, collector off"


def moons_speed(rounds: int = 5) -> list[dict[str, Any]]:
    """The moons demo: MLP 2-16-16-1, 100 samples, full batch."""
    X, y = moons()
    plain = (X.tolist(), y.tolist())
    theirs = eager_step(Chain(micrograd.engine.Value), plain)
    ours = eager_step(Chain(Value), plain)
    random.seed(1337)
    neurons = eager_step(whence.scalar.MLP(2, [16, 16, 1]), plain)
    assert abs(theirs() - ours()) < 1e-12
    slow = {
        SHIPPED: collecting(theirs, on=True),
        COLLECTOR_OFF: collecting(theirs, on=False),
        "Value, the same code": collecting(ours, on=True),
        "Value, the same code, collector off": collecting(ours, on=False),
        "Value, our neurons": collecting(neurons, on=True),
        "Value, our neurons, collector off": collecting(neurons, on=False),
    }
    whole, each = compile(demo_loss), compile(sample_loss, each=True)
    fast = {
        "replayed": replayed_step(whole, Chain(Value), (X, y)),
        "replayed, parameters in an array": array_step(whole, Chain(Value), plain),
        "replayed side by side": replayed_step(each, Chain(Value), (X, y)),
        "replayed side by side, in an array": array_step(each, Chain(Value), (X, y)),
    }
    seconds = compare(slow, fast, rounds)
    nodes = count_nodes(Chain(Value), plain)
    print(f"{nodes:,} numbers in the graph of a step, medians of {rounds} rounds")
    references = {name: COLLECTOR_OFF for name in slow if name.endswith("off")}
    return rows_of(seconds, references, nodes)


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
            fast = compile(loss, each=each)
            start = time.process_time()
            fast(model, batch)
            times.append(time.process_time() - start)
        rows.append({"recording": name, "ms": f"{1e3 * statistics.median(times):.4g}"})
    return rows


def gpt_speed(rounds: int = 3) -> list[dict[str, Any]]:
    """A GPT of one layer, width 16, 4 heads, window 16, on names, one window a step."""
    sys.setrecursionlimit(1_000_000)  # micrograd's backward pass is recursive
    sample, *others = windows(33)
    theirs, ours = (SmallGPT(partial(Grid, value=kind)) for kind in (extended_micrograd(), Value))
    rows = SmallGPT(Matrix)

    def eager(model: SmallGPT) -> Callable[[], float]:
        parameters = values_of(model.parameters()) if model is rows else numbers_of(model)

        def step() -> float:
            loss = next_token_loss(model, sample)
            for p in parameters:
                p.grad = 0
            loss.backward()
            for p in parameters:
                p.data -= RATE * p.grad
            return loss.data

        return step

    slow = {
        SHIPPED: collecting(eager(theirs), on=True),
        COLLECTOR_OFF: collecting(eager(theirs), on=False),
        "Value, the same code": collecting(eager(ours), on=True),
        "Value, the same code, collector off": collecting(eager(ours), on=False),
        "Value, rows as one node": collecting(eager(rows), on=True),
        "Value, rows as one node, collector off": collecting(eager(rows), on=False),
    }
    assert abs(slow[SHIPPED]() - slow["Value, the same code"]()) < 1e-9
    batch = np.array(others)
    fast_model = SmallGPT(Matrix)
    whole, each = compile(next_token_loss), compile(next_token_loss, each=True)
    fast = {
        "replayed": replayed_step(whole, fast_model, sample),
        "replayed, parameters in an array": array_step(whole, fast_model, sample),
        "32 windows side by side": replayed_step(each, fast_model, batch),
        "32 windows side by side, in an array": array_step(each, fast_model, batch),
    }
    seconds = compare(slow, fast, rounds)
    for name in fast:  # per window, as the others
        if name.startswith("32"):
            seconds[name] = [t / 32 for t in seconds[name]]
    nodes = len(whence.scalar.topological(next_token_loss(ours, sample)))
    print(f"{nodes:,} operations in the graph of a window of {WINDOW}; 32 windows: time of one")
    references = {name: COLLECTOR_OFF for name in slow if name.endswith("off")}
    return rows_of(seconds, references, nodes)


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
