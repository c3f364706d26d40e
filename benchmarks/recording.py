"""What recording costs: the line of each step, the copy for a checkpoint, deterministic kernels.

By the main recipe, that of `whence train`. Side by side in one process, in alternating blocks. Run
it with `python -m benchmarks recording`, or a part: `python -m benchmarks.recording line`.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.store.checkpoints import copied, save_checkpoint
from whence.runs.store.records.record import Logs
from whence.runs.store.retention import Spacing
from whence.runs.training.events import Stepped
from whence.runs.training.saver import Saver
from whence.runs.training.session import Session

BLOCK, ROUNDS = 2, 24  # steps in a block, and pairs of blocks
PARTS = ("line", "checkpoint", "determinism")


def run(parts: Collection[str]) -> Iterator[dict]:
    """Measure some of the three; a row or two each."""
    folder = Path(tempfile.mkdtemp(prefix="recording-"))
    try:
        started = Run.create(Recipe(), folder / "run")
        if "line" in parts:
            yield measure_line(started)
        if "checkpoint" in parts:
            yield from measure_checkpoint(started)
        if "determinism" in parts:
            yield measure_determinism(started)
    finally:
        shutil.rmtree(folder)


def measure_line(run: Run) -> dict:
    """Steps with and without a line in the record, block by block in turn."""
    session, logs, spacing = run.session(), Logs(run.path), Spacing(run.recipe.record)
    step, spent = 0, []

    def record(step: int, loss: torch.Tensor, seconds: float) -> None:
        start = time.perf_counter()
        optimizer = session.optimizer
        done = Stepped(
            len(spent),  # the record has no gaps: its steps are those recorded
            float(loss),
            optimizer.rate,
            optimizer.grad_norm,
            seconds,
            session.task.tokens_per_step,
        )
        spacing.took(step, seconds)
        logs.steps.append(done.to_record())
        spent.append(time.perf_counter() - start)

    def without(step: int, loss: torch.Tensor, seconds: float) -> None:
        float(loss)

    times: dict[str, list[float]] = {"on": [], "off": []}
    _block(session, 0, BLOCK, without)  # warm-up
    step = BLOCK
    for number in range(2 * ROUNDS):
        kind = "on" if (number + number // 2) % 2 == 0 else "off"  # on off off on …
        times[kind].append(_block(session, step, BLOCK, record if kind == "on" else without))
        step += BLOCK
    on, off = (statistics.median(times[k]) for k in ("on", "off"))
    pairs = [a / b for a, b in zip(times["on"], times["off"], strict=True)]
    return {
        "what": "a step with its record / without (median of pairs)",
        "with": f"{1e3 * on / BLOCK:.3f} ms",
        "without": f"{1e3 * off / BLOCK:.3f} ms",
        "ratio": f"{statistics.median(pairs):.4f}",
        "note": f"the line itself takes {1e6 * statistics.median(spent):.0f} µs, "
        f"{statistics.median(spent) / (off / BLOCK):.3%} of a step",
    }


def _block(session: Session, first: int, n: int, body: Callable) -> float:
    start = clock = time.perf_counter()
    steps = range(first, first + n)
    for step, loss in session.learn(steps):
        now = time.perf_counter()
        body(step, loss, now - clock)
        clock = time.perf_counter()
    return time.perf_counter() - start


def measure_checkpoint(run: Run) -> list[dict]:
    """How long a step waits for a checkpoint: copied and written behind, or written at once."""
    session = run.session()
    _block(session, 0, 5, lambda *_: None)
    model = session.model.state_dict(keep_vars=True)
    memory = session.optimizer.state_dict()
    size = sum(t.nbytes for t in [*model.values(), *memory.values()])
    saver = Saver(run.path / "behind", lambda _: None, lambda: None)
    stalls, at_once, copies, during, after = [], [], [], [], []
    for number in range(1, 7):
        start = time.perf_counter()
        saver.save(number, model, memory)
        stalls.append(time.perf_counter() - start)
        while not saver.finished():  # steps while it is being written
            during.append(_block(session, session.optimizer.index, 1, lambda *_: None))
        after += [_block(session, session.optimizer.index, 1, lambda *_: None) for _ in range(3)]
        start = time.perf_counter()
        kept = copied(model), copied(memory)  # both, as the saver must
        copies.append(time.perf_counter() - start)
        del kept
        start = time.perf_counter()
        save_checkpoint(run.path / "at once", number, model, memory)
        at_once.append(time.perf_counter() - start)
    saver.close()
    ms = {
        name: 1e3 * statistics.median(values)
        for name, values in {
            "stall": stalls, "copy": copies, "at once": at_once, "during": during, "after": after
        }.items()
    }  # fmt: skip
    return [
        {
            "what": f"a checkpoint of {size / 1e6:.1f} MB: the step waits",
            "with": f"{ms['stall']:.2f} ms written behind",
            "without": f"{ms['at once']:.2f} ms written at once",
            "ratio": f"{ms['stall'] / ms['at once']:.3f}",
            "note": f"the copy alone takes {ms['copy']:.2f} ms",
        },
        {
            "what": "a step while a checkpoint is being written / otherwise",
            "with": f"{ms['during']:.2f} ms",
            "without": f"{ms['after']:.2f} ms",
            "ratio": f"{ms['during'] / ms['after']:.3f}",
            "note": f"{len(during)} such steps in 6 checkpoints",
        },
    ]


def measure_determinism(run: Run) -> dict:
    """Deterministic kernels on and off, block by block in turn."""
    recipe = run.recipe
    sessions = {}
    for on in (True, False):
        run.recipe = replace(recipe, hardware=replace(recipe.hardware, deterministic=on))
        sessions[on] = run.session()
        _block(sessions[on], 0, BLOCK, lambda *_: None)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * ROUNDS):
        on = (number + number // 2) % 2 == 0
        session = sessions[on]
        times[on].append(_block(session, session.optimizer.index, BLOCK, lambda *_: None))
    pairs = [a / b for a, b in zip(times[True], times[False], strict=True)]
    run.recipe = recipe
    return {
        "what": "a step with deterministic kernels / with any (median of pairs)",
        "with": f"{1e3 * statistics.median(times[True]) / BLOCK:.3f} ms",
        "without": f"{1e3 * statistics.median(times[False]) / BLOCK:.3f} ms",
        "ratio": f"{statistics.median(pairs):.4f}",
        "note": "",
    }


def main(parts: Collection[str] = PARTS) -> None:
    """Print what was measured."""
    for row in run(parts):
        print(
            f"{row['what']}\n  {row['with']}  ·  {row['without']}  ·  ratio {row['ratio']}",
            flush=True,
        )
        if row["note"]:
            print(f"  {row['note']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or PARTS)
