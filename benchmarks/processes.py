"""A step by several processes, gradients averaged by the engine or added in one order.

`python -m benchmarks processes`. The usual GPT, eight parts to a batch, one thread to a process: 1,
2 and, on four cores or more, 4 processes. In one launch both ways take turns; printed is the
median of a step's seconds and what one order of addition costs. `--few` takes one turn.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.timing import table
from whence.data import Dataset, open_source, prepare
from whence.runs.recipe import Recipe
from whence.runs.training.creation import resolve
from whence.runs.training.session import Session, assemble
from whence.scale.hardware import Hardware
from whence.scale.team import Team, join, leave

STEPS = 5


def measured(out: Path, rounds: int) -> None:
    """Time both ways in this process, one of several; process 0 writes what it found."""
    team = join()
    source = open_source("topics")
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(source, "chars", None, 0.1, Path(folder))
        seconds: dict[str, list[float]] = {"fast": [], "ordered": []}
        sessions = {way: _session(way, dataset, team) for way in seconds}
        for turn in range(rounds + 1):
            for way, session in sessions.items():
                start = perf_counter()
                _steps(session, team, range(turn * STEPS, (turn + 1) * STEPS))
                if turn:
                    seconds[way].append((perf_counter() - start) / STEPS)
    if team.leads:
        out.write_text(json.dumps(seconds))
    leave()


def _session(way: str, dataset: Dataset, team: Team) -> Session:
    hardware = Hardware(device="cpu", threads=1)
    hardware = replace(hardware, reduction="ordered" if way == "ordered" else "fast")
    recipe = Recipe(hardware=hardware, accumulate=8, steps=10**6)
    return assemble(resolve(recipe, open_source("topics")), dataset, team)


def _steps(session: Session, team: Team, steps: range) -> None:
    for step in steps:
        if not team.leads:
            team.hear()
        for _ in session.learn([step]):
            pass


def run(rounds: int = 7) -> list[dict]:
    """The table's rows."""
    rows = []
    for size in [1, 2, *([4] if (os.cpu_count() or 1) >= 4 else [])]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "seconds.json"
            words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)]
            words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
            words += ["-m", "benchmarks.processes", str(out), str(rounds)]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(words, check=True, env=env, capture_output=True)
            seconds = json.loads(out.read_text())
        ratio = median(b / a for a, b in zip(seconds["fast"], seconds["ordered"], strict=True))
        rows.append(
            {
                "processes": size,
                "ms, fast": f"{1e3 * median(seconds['fast']):.0f}",
                "ms, ordered": f"{1e3 * median(seconds['ordered']):.0f}",
                "one order costs": f"{ratio - 1:+.1%}",
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    table(run(1 if "--few" in sys.argv else 7))


if __name__ == "__main__":
    measured(Path(sys.argv[1]), int(sys.argv[2]))
