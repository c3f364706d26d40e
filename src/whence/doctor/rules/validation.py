"""Rules on the measurements of other text: overfitting, underfitting, stopping too early."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.rules.rule import Rule

GL = 5.0  # generalisation loss, per cent: Prechelt 1998, "Early stopping - but when?"
GAP = 0.1  # (validation − training) / training: SageMaker Debugger Overfit
PACE = 0.18  # of the whole fall, in the last fifth: nine tenths of the mean pace: ours
STILL = 0.08  # of the loss, in the last fifth: ours


def overfitting(e: Evidence) -> Finding | None:
    """The loss on other text rises while the training loss falls."""
    losses = [loss for _, loss in e.evals if math.isfinite(loss)]
    if len(losses) < 3:
        return None
    best = min(losses)
    at = e.evals[losses.index(best)][0]
    gl = 100 * (losses[-1] / best - 1)
    train = float(np.median(e.loss[-max(5, len(e.loss) // 20) :])) if len(e.loss) else math.nan
    gap = (losses[-1] - train) / train if train > 0 else math.nan
    falls = len(e.loss) < 20 or train < float(np.median(e.loss[: max(5, len(e.loss) // 20)]))
    if gl < GL or not gap > GAP or not falls:
        return None
    return Finding(
        f"the model overfits: other text was predicted best before step {at:,}", "act",
        (
            Fact("lowest loss on validation", best, step=at),
            Fact("loss on validation at the end", losses[-1],
                 f"{gl:.0f} % above; Prechelt: {GL:g} %"),
            Fact("loss on training text at the end", train, f"SageMaker: {GAP:.0%} below"),
            Fact("times the text was read", e.texts.epochs if e.texts else math.nan),
        ),
        "stop where validation is lowest, give more text, or use dropout or a smaller model",
        step=at, weight=5.8,
        change=Change({"steps": max(2, at)}) if e.setup.is_run and at else None,
    )  # fmt: skip


def stopped_early(e: Evidence) -> Finding | None:
    """The run ended while the loss was still falling fast."""
    n = len(e.loss)
    if e.crashed is not None:
        return None
    fifth = n // 5
    a = float(np.median(e.loss[-2 * fifth : -fifth]))
    b = float(np.median(e.loss[-fifth:]))
    start = float(np.median(e.loss[: max(3, n // 20)]))
    fell = (a - b) / max(abs(start - b), 1e-9)
    evals = [loss for _, loss in e.evals]
    rises = len(evals) >= 2 and evals[-1] > evals[-2]
    if fell < PACE or a <= 0 or (a - b) / a < STILL or rises:
        return None
    return Finding(
        "the loss was still falling fast when the run ended", "watch",
        (
            Fact("fall in the last fifth, of the whole fall", fell, f"alarm: {PACE}; ours"),
            Fact("loss of the last steps", b),
        ),
        "train for more steps", step=n - 1, weight=1.5,
        change=Change({"steps": 3 * e.setup.steps}) if e.setup.is_run and e.setup.steps else None,
    )  # fmt: skip


def too_small(e: Evidence) -> Finding | None:
    """The loss has stopped falling, high on training text too: the model may be too small."""
    assert e.texts is not None
    n = len(e.loss)
    floor = e.texts.target_entropy
    if (
        n < 100
        or not len(e.evals)
        or math.isnan(floor)
        or not e.setup.is_run
        or e.crashed is not None
    ):
        return None
    if e.setup.kind != "tokens" or math.isnan(e.last.ratio):
        return None
    middle = float(np.median(e.loss[n // 2 : n // 2 + n // 10]))
    end = float(np.median(e.loss[-n // 10 :]))
    width = e.setup.sizes.get("model", {}).get("d_model", 1 << 20)
    still = abs(middle - end) < 0.01 * middle
    if not (still and end > 0.75 * floor and width <= 8):
        return None
    return Finding(
        "the loss has stopped falling at a high level: the model may be too small", "watch",
        (
            Fact("loss of the last steps", end, f"entropy of the targets: {floor:.3g}"),
            Fact("loss half-way", middle),
            Fact("model.d_model", width),
        ),
        "take a wider model", weight=2.2, change=Change({"model.d_model": 8 * width}),
    )  # fmt: skip


RULES = (
    Rule(
        overfitting, ("validation",), "Prechelt 1998: GL above 5; SageMaker Debugger: gap above 0.1"
    ),
    Rule(stopped_early, ("losses",), "ours"),
    Rule(too_small, ("losses", "texts", "measured"), "ours"),
)
