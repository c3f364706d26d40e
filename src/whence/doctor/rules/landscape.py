"""Rules on the loss around the weights: too curved for the rate, too noisy for the batch."""

from __future__ import annotations

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.rules.changes import rates
from whence.doctor.rules.rule import Rule

NOISY = 100.0  # times the batch that the noise scale may be: ours
SLOW = 100.0  # times the rate may lie below that of the steepest fall: ours


def edge_of_stability(e: Evidence) -> Finding | None:
    """The loss is more curved than the rate bears: steps overshoot."""
    around = e.landscape
    assert around is not None
    times = around.sharpness * around.rate / around.bound
    if not times > 1:
        return None
    return Finding(
        f"the rate is {times:.2g} times what the curvature of the loss bears", "watch",
        (
            Fact("rate × sharpness", around.sharpness * around.rate,
                 f"stable below {around.bound:.3g} (Cohen et al.)", around.step),
            Fact("learning rate", around.rate, "", around.step),
        ),
        "lower the learning rate, or warm it up for longer", step=around.step, weight=3.3,
        change=rates(e, 0.5 / times),
    )  # fmt: skip


def gradient_noise(e: Evidence) -> Finding | None:
    """The gradient is nearly all noise: its noise scale is far above the batch."""
    around = e.landscape
    assert around is not None
    if not around.noise > NOISY * around.batch:
        return None
    larger = Change({"batch_size": 4 * around.batch}) if e.setup.is_run else None
    return Finding(
        "the gradient of a batch is nearly all noise", "watch",
        (
            Fact("gradient noise scale, in examples", around.noise,
                 f"alarm: {NOISY:g} × the batch; ours", around.step),
            Fact("examples of a batch", around.batch),
        ),
        "take a larger batch, or lower the rate towards the end", step=around.step, weight=1.5,
        change=larger,
    )  # fmt: skip


def rate_out_of_range(e: Evidence) -> Finding | None:
    """In a sweep over rates the loss breaks down below the run's rate, or falls only far above."""
    around = e.landscape
    assert around is not None
    rate = e.setup.rate
    high = rate > around.highest
    low = not high and rate * SLOW < around.steepest
    if not (high or low):
        return None
    return Finding(
        "the rate lies " + ("above" if high else "far below") + " those at which the loss falls",
        "act" if high else "watch",
        (
            Fact("learning rate", rate),
            Fact("the loss falls fastest at", around.steepest, "sweep from 1e-7 to 10"),
            Fact("the loss breaks down at", around.highest, "4 × its least: fastai"),
        ),
        f"take a rate near {around.steepest / 3:.1g}", step=0, weight=4.3,
        change=rates(e, around.steepest / 3 / rate),
    )  # fmt: skip


RULES = (
    Rule(edge_of_stability, ("sharpness",), "Cohen et al. 2021 and 2022: 2/η; Adam 38/η"),
    Rule(gradient_noise, ("noise scale",), "McCandlish et al. 2018; 100 is ours"),
    Rule(rate_out_of_range, ("sweep",), "fastai: 1e-7 to 10, 4 × the least loss; 100 is ours"),
)
