"""What watching someone's loop costs: a step with and without, a snapshot, a dump, going back.

By a GPT of the main recipe's shape, and one of 10 million parameters at 8 × 256, each in a plain
loop. Side by side in one process, step by step in turn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import table
from whence.errors import in_bytes
from whence.models import GPT, GPTConfig
from whence.runs.recipe import Recipe
from whence.watch import Recorder, open_step, watch

PAIRS, SNAPSHOTS = 60, 8  # pairs of steps; steps between two snapshots, which are told apart


class Loop:
    """A loop as one writes it: a model, AdamW, a batch of random ids, cross-entropy, clipping."""

    def __init__(self, config: GPTConfig, vocab_size: int, batch: int, window: int):
        torch.manual_seed(0)
        self.model = GPT(config, vocab_size)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.ids = torch.randint(vocab_size, (batch, window + 1))

    def step(self) -> torch.Tensor:
        """Do one step; return its loss."""
        self.optimizer.zero_grad()
        logits = self.model(self.ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), self.ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss

    def seconds(self, recorder: Recorder | None, steps: int = 1) -> float:
        """How long a few steps take; a watched loop tells its loss, too."""
        start = time.perf_counter()
        for _ in range(steps):
            loss = float(self.step().detach())
            if recorder is not None:
                recorder.log(loss=loss)
        return time.perf_counter() - start


def sizes() -> Iterator[tuple[str, Loop, Loop]]:
    """The two shapes, each twice."""
    recipe = Recipe()
    assert isinstance(recipe.model, GPTConfig)
    large = GPTConfig(n_layers=6, n_heads=6, d_model=384, context_length=256)
    for name, config, batch in (
        ("default GPT", recipe.model, recipe.batch_size),
        ("10 M GPT, 8 × 256", large, 8),
    ):
        loop, twin = (Loop(config, 256, batch, config.context_length) for _ in range(2))
        yield name, loop, twin


def measure(name: str, loop: Loop, twin: Loop, folder: Path) -> Iterator[dict]:
    """Measure one shape."""
    with _watched(loop, folder) as recorder:
        yield _paired(name, twin, loop, recorder)
        yield _snapshot(name, loop, recorder)
        yield _memory(name, recorder)
        yield from _going_back(name, loop, recorder)


def _watched(loop: Loop, out: Path) -> Recorder:
    return watch(
        loop.model, loop.optimizer, out=out, snapshot_every=SNAPSHOTS, spike=6.0,
        tell=lambda sentence: None,
    )  # fmt: skip


def _paired(name: str, plain: Loop, loop: Loop, recorder: Recorder) -> dict:
    """Time a watched loop's steps against those of its twin, in turn, once its memory is full."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    plain.seconds(None)
    loop.seconds(recorder, 32)
    for number in range(PAIRS):
        turns = [("on", lambda: loop.seconds(recorder)), ("off", lambda: plain.seconds(None))]
        for kind, step in turns[:: 1 if number % 2 else -1]:
            times[kind].append(step())
        while (
            recorder.steps[-1] + 1
        ) % SNAPSHOTS < 2:  # one with a snapshot comes, or has just been
            loop.seconds(recorder)
    ratios = [a / b for a, b in zip(times["on"], times["off"], strict=True)]
    on, off = (1e3 * statistics.median(times[kind]) for kind in ("on", "off"))
    ratio = statistics.median(ratios)
    return _row(name, "a step, watched / not", f"{on:.2f} ms", f"{off:.2f} ms", f"{ratio:.4f}")


def _snapshot(name: str, loop: Loop, recorder: Recorder) -> dict:
    """A snapshot of the recorder against a plain copy of the same tensors."""
    world = recorder.at(-1).world
    tensors = [*world.parameters, *_state(loop.optimizer)]
    taken, copied = [], []
    for _ in range(10):
        start = time.perf_counter()
        kept = world.snapshot()
        taken.append(time.perf_counter() - start)
        start = time.perf_counter()
        plain = [tensor.detach().clone() for tensor in tensors]
        copied.append(time.perf_counter() - start)
        del kept, plain
    a, b = (1e3 * statistics.median(times) for times in (taken, copied))
    ratio = statistics.median(x / y for x, y in zip(taken, copied, strict=True))
    return _row(name, "a snapshot / its copy alone", f"{a:.2f} ms", f"{b:.2f} ms", f"{ratio:.3f}")


def _memory(name: str, recorder: Recorder) -> dict:
    """What the ring says it takes, against the tensors that it holds."""
    kept, told = recorder.memory, recorder.most_memory
    return _row(name, "memory of 32 steps / told", in_bytes(kept), in_bytes(told),
                f"{kept / told:.3f}")  # fmt: skip


def _going_back(name: str, loop: Loop, recorder: Recorder) -> Iterator[dict]:
    """Opening a step from a dump and doing it again, in plain steps."""
    plain = statistics.median(loop.seconds(None, 1) for _ in range(5))
    start = time.perf_counter()
    folder = recorder.dump()
    whole = time.perf_counter() - start
    yield _row(name, "a dump with its report / a step", f"{whole:.2f} s", f"{1e3 * plain:.2f} ms",
               f"{whole / plain:.1f}")  # fmt: skip
    number, run = int(folder.name), folder.parents[1]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        open_step(run, number, loop.model)[0].redo()
        times.append(time.perf_counter() - start)
    again = statistics.median(times)
    yield _row(name, "a step opened from a dump and done again / a step", f"{1e3 * again:.2f} ms",
               f"{1e3 * plain:.2f} ms", f"{again / plain:.2f}")  # fmt: skip


def _state(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    kinds = [value for state in optimizer.state.values() for value in state.values()]
    return [value for value in kinds if isinstance(value, torch.Tensor)]


def _row(name: str, what: str, one: str, other: str, ratio: str) -> dict:
    return {"model": name, "what": what, "one": one, "other": other, "ratio": ratio}


def main() -> None:
    """Print what was measured."""
    folder = Path(tempfile.mkdtemp(prefix="watch-"))
    try:
        rows = []
        for i, (name, loop, twin) in enumerate(sizes()):
            rows += list(measure(name, loop, twin, folder / str(i)))
        table(rows)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
