"""Rules on the loss: where it starts, whether it falls, jumps, or ends in a NaN."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor import signs
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.measuring.measured import Measured
from whence.doctor.rules.changes import model, rates
from whence.doctor.rules.rule import Rule

START_ABOVE, START_MORE = 1.3, 0.5  # times ln V (CS231n), plus so many nats: ours
LEARNT = 0.98  # of the entropy of the targets: ours
MOVED = 1.0  # updates times steps, of the weights: less may be too short a training: ours
STAYS = 0.25  # of a jump, that is still there at the end: ours
FALLEN = 0.02  # of the first loss: ours
DIVERGED = 1.3  # the end is so many times the best smoothed loss, and above the start: ours
BOUNCE = 0.35  # spread of the last steps' loss, relative to the fall: ours
UNSEEN = 1e-3  # of the logits' spread, that a later token changes earlier ones by: rounding
LOW_EARLY = 0.25  # of the targets' entropy, within a tenth of the steps: ours


def not_finite(e: Evidence) -> Finding | None:
    """A loss or a gradient is NaN or infinite."""
    if e.crashed is None:
        return None
    bad = next((m for m in e.measured if m.step >= e.crashed), None)
    facts = [Fact("the first step with a number that isn't finite", e.crashed, step=e.crashed)]
    if e.first_bad:
        facts.append(Fact("it was", e.first_bad[0].splitlines()[0], step=e.crashed))
    if bad is not None and bad.bad_outputs:
        # a module's output is told before its parent's
        facts.append(Fact("first output that isn't finite", bad.bad_outputs[0], step=bad.step))
    before = e.loss[: e.crashed]
    before = before[np.isfinite(before)]
    if len(before):
        facts.append(Fact("loss before", float(before[-1]), f"it began at {before[0]:.4g}"))
    return Finding(
        f"a number was not finite at step {e.crashed:,}, and training could not go on from it",
        "act", tuple(facts),
        "open the first bad number and remove its cause; a lower rate or clipping helps where "
        "the numbers grew step by step",
        step=e.crashed,
        open=e.first_bad[1] if e.first_bad else _largest_gradient(bad),
        weight=5.0,
        change=rates(e, 0.1, max(0, e.crashed - 20), clip=True),
    )  # fmt: skip


def _largest_gradient(m: Measured | None) -> str:
    """Where all numbers are finite and their norm isn't: the weight with the largest gradient."""
    weights = [w for w in m.weights.values() if w.grad_norm > 0] if m is not None else []
    return f"{max(weights, key=lambda w: w.grad_norm).name}.grad" if weights else ""


def no_target(e: Evidence) -> Finding | None:
    """A batch in which no token has a target gives 0/0; examples without one teach nothing."""
    rows = [m for m in e.measured if m.predicted is not None and m.predicted.known]
    empty = max(rows, key=lambda m: m.predicted.empty_rows if m.predicted else 0)
    p = empty.predicted
    assert p is not None
    if p.empty_rows < 0.05:
        return None
    return Finding(
        f"{p.empty_rows:.0%} of the examples of step {empty.step:,} have no target that counts",
        "act",
        (Fact("examples without a target", p.empty_rows, "0", step=empty.step),),
        "leave such examples out of the batches; where a whole batch has none, the mean is 0/0",
        step=empty.step,
        weight=8.0 if e.crashed is None else 9.0,
    )


def loss_at_start(e: Evidence) -> Finding | None:
    """An untrained model should guess evenly: a loss of about ln V."""
    p = e.first.predicted
    assert p is not None
    losses = p.losses[np.isfinite(p.losses)]
    if not len(losses):
        return None
    loss, even = float(losses.mean()), math.log(p.classes)
    limit = START_ABOVE * even + START_MORE
    tied = bool(e.setup.sizes.get("model", {}).get("tied_embeddings"))
    if loss <= limit or e.first.step > 0:
        return None
    return Finding(
        f"the first loss is {loss:.2f}, far above the {even:.2f} of a model that guesses evenly",
        "act",
        (
            Fact("loss", loss, f"ln {p.classes} = {even:.3f}, alarm above {limit:.2f}", step=0),
            Fact("largest logit", p.largest, step=0, address="logits"),
        ),
        "draw the first weights smaller, above all the head's (and the table's where tied)",
        step=0,
        open="logits",
        weight=6.0,
        change=None if tied else model(e, "zero_head", False, True),
    )


def not_learning(e: Evidence) -> Finding | None:
    """The loss has not fallen since the start."""
    smooth = e.smoothed()
    start = _start(e)
    best = float(np.nanmin(smooth))
    if not math.isfinite(start) or start - best > FALLEN * abs(start) or e.crashed is not None:
        return None
    moved = _moved(e)
    early = 0 < moved < MOVED and best < start  # it may yet learn
    facts = [
        Fact("loss of the first steps", start),
        Fact("lowest smoothed loss", best, f"it should fall by {FALLEN:.0%} at least"),
    ]
    if math.isfinite(moved):
        facts.append(Fact("updates so far, of the weights' size", moved, f"sure above {MOVED:g}"))
    return Finding(
        f"the loss has not fallen in {len(e.loss):,} steps", "watch" if early else "act",
        tuple(facts),
        "see whether the weights move at all, whether inputs and targets belong together, and try "
        "a rate ten times as high and ten times as low",
        weight=1.0,
    )  # fmt: skip


def _moved(e: Evidence) -> float:
    """All updates so far, as a share of the weights' size; NaN: no step was measured."""
    ratios = [m.ratio for m in e.measured if not m.refused and math.isfinite(m.ratio)]
    return len(e.loss) * float(np.median(ratios)) if ratios else math.nan


def _start(e: Evidence) -> float:
    k = max(1, min(5, len(e.loss) // 20))
    return float(np.mean(e.loss[:k]))


def diverging(e: Evidence) -> Finding | None:
    """The loss has risen far above what it was: the rate is too high."""
    smooth = e.smoothed()
    if e.crashed is not None:
        smooth = smooth[: e.crashed]
    smooth = smooth[np.isfinite(smooth)]
    if len(smooth) < 10:
        return None
    start, best, end = _start(e), float(smooth.min()), float(smooth[-1])
    if not (end > DIVERGED * best and end - best > 0.5 * max(start - best, 0.1)):
        return None
    at = int(smooth.argmin())
    above = np.flatnonzero(
        e.loss[at + 1 :] > max(DIVERGED * best, e.loss[max(0, at - 5) : at + 1].max())
    )
    first = at + 1 + int(above[0]) if len(above) else at
    return Finding(
        "the loss rises: training diverges", "act",
        (
            Fact("lowest smoothed loss", best, step=at),
            Fact("loss at the end", end, f"alarm above {DIVERGED} × the lowest"),
            Fact("learning rate", e.setup.rate),
        ),
        "take a tenth of the learning rate, or clip the gradient",
        step=first, weight=4.0, change=rates(e, 0.1),
    )  # fmt: skip


def spike(e: Evidence) -> Finding | None:
    """The loss of one step is far above those before it."""
    found = signs.spikes(e.loss)
    first = signs.first_of_run(found)
    if not first or e.crashed in first:
        return None
    step = first[0]
    before = float(np.median(e.loss[max(0, step - signs.BEFORE) : step]))
    score = signs.z_scores(e.grad_norm)
    facts = [Fact("loss", float(e.loss[step]), f"median of the 20 before: {before:.4g}", step=step)]
    if step < len(score) and score[step]:
        facts.append(
            Fact("z-score of the gradient's norm", float(score[step]), f"ZClip: {signs.Z}", step)
        )
    if len(first) > 1:
        facts.append(Fact("spikes in all", len(first)))
    end = e.loss[step + 1 :][-max(10, (len(e.loss) - step) // 3) :]
    stays = len(end) >= 5 and float(np.median(end)) > before + STAYS * (e.loss[step] - before)
    rows = next((m for m in e.measured if m.step == step), None)
    skip = None
    if rows is not None and rows.predicted is not None and len(rows.predicted.row_share) > 1:
        share = rows.predicted.row_share
        facts.append(
            Fact(
                f"share of example {int(share.argmax())} in the gradient",
                float(share.max()),
                step=step,
            )
        )
    if e.setup.is_run:
        skip = Change({"change.skip_batches": first[:20]}, max(0, step - 1))
    return Finding(
        f"the loss jumps at step {step:,}" + (" and does not come back" if stays else ""),
        "act" if stays else "watch",
        tuple(facts),
        "open that batch; leave it out or clip the gradient if it does not belong to the data",
        step=step, open="loss", weight=3.0, change=skip,
    )  # fmt: skip


def bouncing(e: Evidence) -> Finding | None:
    """The loss bounces instead of settling: the rate is near the edge of stability."""
    if e.crashed is not None or len(e.loss) < 40:
        return None
    n = len(e.loss)
    tail = e.loss[n // 2 :]
    start = _start(e)
    fall = max(start - float(np.median(tail)), 1e-9)
    steps = np.abs(np.diff(tail))
    bounce = float(np.median(steps)) / max(fall, 0.05 * start)
    ratio = e.last.ratio
    if bounce < BOUNCE or math.isnan(ratio) or ratio < 0.02:
        return None
    return Finding(
        "the loss bounces from step to step more than it has fallen", "act",
        (
            Fact("median change from step to step, of the fall so far", bounce, f"alarm: {BOUNCE}"),
            Fact("update to weight", ratio, "about 1e-3 is healthy (CS231n)", e.last.step),
        ),
        "lower the learning rate", weight=3.5, change=rates(e, 0.1),
    )  # fmt: skip


def no_better_than_counts(e: Evidence) -> Finding | None:
    """The loss stays where a model that only knows how often each target comes would be."""
    assert e.texts is not None
    floor = e.texts.target_entropy
    few = 40 if e.setup.kind == "classes" else 200
    if math.isnan(floor) or e.texts.tokens < few or len(e.loss) < 60 or e.crashed is not None:
        return None
    if e.setup.kind == "other" or floor < 0.2:
        return None
    end = float(np.median(e.loss[-max(10, len(e.loss) // 10) :]))
    if end < LEARNT * floor:
        return None
    half = float(np.median(e.loss[len(e.loss) // 2 :][: max(10, len(e.loss) // 10)]))
    moved = _moved(e)
    early = end < 0.98 * half or not moved >= MOVED  # it may yet learn
    return Finding(
        "after all these steps the model predicts no better than the frequencies of the targets",
        "watch" if early else "act",
        (
            Fact("loss of the last steps", end),
            Fact("entropy of the targets", floor, f"alarm above {LEARNT} of it"),
            Fact("steps", len(e.loss)),
            Fact("updates so far, of the weights' size", moved, f"sure above {MOVED:g}; ours"),
        ),
        "see that the inputs reach the model and the targets belong to them; else train longer, at "
        "a higher rate, or with a larger model",
        weight=0.9, change=rates(e, 10.0),
    )  # fmt: skip


def too_good_too_early(e: Evidence) -> Finding | None:
    """The loss falls so low so soon that the target must be seen in the input."""
    assert e.texts is not None
    floor = e.texts.target_entropy
    if math.isnan(floor) or e.setup.kind != "tokens" or e.texts.tokens < 200:
        return None
    early = e.smoothed(5)[: max(20, len(e.loss) // 3)]
    low = float(np.nanmin(early))
    if not low < LOW_EARLY * floor or e.texts.repeated > 0.3 or e.texts.own_copies > 0.5:
        return None
    blind = e.probes is not None and e.probes.ahead is not None and e.probes.ahead < UNSEEN
    if blind and e.texts.shift == 1:
        return None  # the targets are the next tokens, and nothing shows those
    at = int(np.nanargmin(early))
    return Finding(
        f"the loss is already {low:.3f} at step {at:,}: the targets can probably be read off the "
        "inputs",
        "watch",
        (Fact("smoothed loss", low, f"entropy of the targets: {floor:.3f}", step=at),),
        "see whether a token can see itself or those after it, and how far the targets are shifted",
        step=at, weight=2.0,
    )  # fmt: skip


RULES = (
    Rule(not_finite, ("crash",), "finite or not; no threshold"),
    Rule(
        no_target, ("targets",), "0/0 in a mean over no token, reported of a public trainer; ours"
    ),
    Rule(loss_at_start, ("start", "targets"), "CS231n: about ln V; the tolerance is ours"),
    Rule(not_learning, ("losses",), "SageMaker Debugger LossNotDecreasing; 2 % is ours"),
    Rule(diverging, ("losses",), "ours"),
    Rule(spike, ("losses",), "z above 2.5: ZClip, arXiv 2504.02507; the robust distance is ours"),
    Rule(bouncing, ("losses", "measured"), "ours; oscillation as in AUTOTRAINER"),
    Rule(no_better_than_counts, ("losses", "texts"), "ours"),
    Rule(too_good_too_early, ("losses", "texts"), "ours"),
)
