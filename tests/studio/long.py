"""A run whose record is long: its curves are drawn by few of its points."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.runs.tiny import RECIPE, make
from whence.runs.run import Run
from whence.runs.store.records.record import Logs
from whence.runs.training.events import Stepped

STEPS = 3000
# A noisy curve, as real ones are.
LOSSES = 4 * (np.arange(STEPS) + 1.0) ** -0.2 + 0.05 * np.random.default_rng(0).standard_normal(
    STEPS
)


def long_run(path: Path) -> Run:
    """Make a run and write it a record of 3,000 steps."""
    run = make(path, replace(RECIPE, steps=STEPS))
    Logs(run.path, run.header.id).steps.replace(
        Stepped(k, float(LOSSES[k]), 1e-3 * (1 - k / STEPS), 1.0 + k % 7, 0.01, 64).to_record()
        for k in range(STEPS)
    )
    return run
