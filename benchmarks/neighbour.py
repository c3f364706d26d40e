"""A training beside another busy program: how much longer its step takes, alone and with company.

`python -m benchmarks neighbour`. The neighbour is one endless loop in a session of its own.
Each contestant is a process that trains the small GPT of `benchmarks step`; they take turns. What
differs is how long PyTorch's threads spin while they wait for each other (docs/decisions/044).
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.timing import table

ROUNDS, STEPS = 3, 4
CONTESTANTS: dict[str, dict[str, str]] = {
    "Whence": {},
    "PyTorch's own spin": {"GOMP_SPINCOUNT": "300000"},
    "no spin": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


@contextmanager
def neighbour() -> Iterator[None]:
    """One busy process."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def step_ms(settings: dict[str, str]) -> float:
    """The median step of a process with such settings in its environment."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    words = [sys.executable, "-m", "benchmarks.neighbour", "steps"]
    done = subprocess.run(
        words, env={**own, **settings}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def steps() -> float:
    """Milliseconds of a step, after some that warm up."""
    from whence.scale.process import tune_process  # before PyTorch, as the commands do

    tune_process()
    # isort: split
    from benchmarks.step import ours
    from benchmarks.timing import seconds_of
    from whence.models import modern_config
    from whence.train.optimizers import AdamWConfig

    step = ours(modern_config(), "bf16", AdamWConfig())
    return 1e3 * statistics.median([seconds_of(step) for _ in range(STEPS + 3)][3:])


def main() -> None:
    """Print the table."""
    alone: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    beside: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(ROUNDS):
        for name, settings in CONTESTANTS.items():
            alone[name].append(step_ms(settings))
            with neighbour():
                beside[name].append(step_ms(settings))
    rows = []
    for name in CONTESTANTS:
        one, two = statistics.median(alone[name]), statistics.median(beside[name])
        row = {"a step": name, "ms alone": f"{one:.1f}", "ms beside a busy program": f"{two:.1f}"}
        rows.append({**row, "times as long": f"{two / one:.1f}"})
    table(rows)


if __name__ == "__main__":
    print(steps())
