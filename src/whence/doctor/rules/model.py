"""Rules on the model as a whole: what it may not see, what it carries on, what it ties."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.measuring.measured import Measured
from whence.doctor.rules.changes import model, rates
from whence.doctor.rules.rule import Rule

SEES = 1e-3  # of the logits' spread: more than rounding moves them
RESIDUAL = 0.35  # cosine between a block's input and output: ours
LOGITS = 60.0  # |logit| that softmax in float32 still tells apart; beyond it drifts: ours
DRIFT = 20.0  # |mean ln Z|: PaLM's z-loss keeps it near 0; ours
AWAY = 1e-3  # of the gradient at the logits: exact is 0, and rounding changes its sign; ours


def sees_the_future(e: Evidence) -> Finding | None:
    """A token's prediction changes with the tokens after it: the mask is missing or wrong."""
    assert e.probes is not None
    assert e.texts is not None
    ahead = e.probes.ahead
    if e.setup.kind != "tokens" or ahead is None or ahead < SEES or e.texts.shift == 0:
        return None
    if e.texts.shift is None and math.isfinite(e.texts.shift_share) and e.texts.shift_share < 0.5:
        return None  # the targets aren't the next tokens: it may be meant to see all
    seen = [r for r in e.last.readings if r.ahead > 1e-6]
    facts = [Fact("change of earlier logits when the last token changes", ahead, f"alarm: {SEES}")]
    facts += [
        Fact("weight on a key after the query", r.ahead, "0", e.last.step, r.name) for r in seen[:2]
    ]
    return Finding(
        "predictions see the tokens that they should predict: the causal mask is missing or wrong",
        "act", tuple(facts),
        "mask every key that comes after its query, before the softmax",
        step=e.first.step, open=f"{seen[0].name}" if seen else "logits", weight=9.9, flatters=True,
        change=model(e, "causal", False, True),
    )  # fmt: skip


def context_unread(e: Evidence) -> Finding | None:
    """A prediction does not change with the tokens before: each token sees itself alone."""
    assert e.probes is not None
    before = e.probes.before
    if e.setup.kind != "tokens" or before is None or not e.setup.has_attention:
        return None
    later = [m for m in e.measured if m.step > 0]
    says = e.last.predicted
    if before > 1e-9 or not later or says is None or says.largest < 1e-3:
        return None
    return Finding(
        "predictions do not depend on earlier tokens: attention reads nothing but the token itself",
        "act",
        (Fact("change of later logits when an early token changes", before, "above 0"),),
        "see whether the mask is inverted, or attention's output is not used",
        step=e.first.step, open="logits", weight=9.6,
        change=_whole(e),
    )  # fmt: skip


def _whole(e: Evidence) -> Change | None:
    """The model with all its parts, where the recipe takes some out."""
    out = e.setup.sizes.get("model", {}).get("without")
    return Change({"model.without": []}) if out else None


def examples_mixed(e: Evidence) -> Finding | None:
    """One example's prediction changes with another example of the batch."""
    assert e.probes is not None
    if e.probes.across is None or e.probes.across < SEES:
        return None
    return Finding(
        "an example's prediction depends on the other examples of its batch", "act",
        (Fact("change of logits when another example changes", e.probes.across, f"alarm: {SEES}"),),
        "see whether a softmax, norm or reshape runs over the batch's dimension",
        step=e.first.step, open="logits", weight=9.7,
    )  # fmt: skip


def missing_residual(e: Evidence) -> Finding | None:
    """A block's output contains almost nothing of its input: the residual is missing."""
    m = e.first
    blocks = [f for f in m.flows if f.rms > 0]
    if len(blocks) < 2 or not e.setup.has_attention:
        return None
    carried = float(np.median([abs(f.carried) for f in blocks]))
    if carried > RESIDUAL:
        return None
    f = blocks[0]
    return Finding(
        "blocks do not carry their input on: the residual connection is missing", "act",
        (
            Fact("cosine between a block's input and output, median", carried,
                 f"alarm: {RESIDUAL}", m.step),
            Fact("blocks", len(blocks)),
        ),
        "add each part's output to its input: x + part(norm(x))",
        step=m.step, open=f.name, weight=7.6,
        change=_whole(e),
    )  # fmt: skip


def stream_grows(e: Evidence) -> Finding | None:
    """The signal grows from block to block: norms are missing or in the wrong place."""
    m = e.last
    blocks = [f for f in m.flows if f.rms_in > 0]
    if len(blocks) < 2 or not e.setup.has_attention:
        return None
    grows = blocks[-1].rms / blocks[0].rms_in
    if grows < 300:
        return None
    return Finding(
        f"the signal grows {grows:.3g}-fold from the first block to the last", "act",
        (
            Fact("size of the signal", blocks[0].rms_in, "", m.step, blocks[0].name),
            Fact("size of the signal", blocks[-1].rms, "alarm: 300-fold; ours", m.step,
                 blocks[-1].name),
        ),
        "normalise what each part reads, and scale down what it writes by 1/√(2·blocks)",
        step=m.step, open=blocks[-1].name, weight=4.6,
    )  # fmt: skip


def not_tied(e: Evidence) -> Finding | None:
    """The configuration ties head and embedding, and they are two tensors."""
    if not e.setup.tied_asked or e.setup.tied:
        return None
    return Finding(
        "head and embedding should be tied, and are two tensors", "act",
        (Fact("tied in the configuration", "yes"), Fact("one tensor", "no")),
        "tie them after the weights are drawn or loaded (model.tie_weights())",
        step=e.first.step, weight=8.0,
    )  # fmt: skip


def cache_differs(e: Evidence) -> Finding | None:
    """Reading token by token with a cache gives other logits than reading all at once."""
    assert e.probes is not None
    noisy = e.probes.noise is not None and e.probes.noise > SEES
    if e.probes.cache is None or e.probes.cache < 0.02 or noisy:
        return None
    return Finding(
        "generating with the cache gives other logits than reading the text at once", "act",
        (Fact("change of logits", e.probes.cache, "alarm: 0.02 of their spread; ours"),),
        "see that positions go on from what the cache holds",
        step=e.first.step, open="logits", weight=8.8,
    )  # fmt: skip


def random_in_evaluation(e: Evidence) -> Finding | None:
    """Two readings of one text in evaluation mode differ: something random is active."""
    assert e.probes is not None
    if e.probes.noise is None or e.probes.noise < SEES:
        return None
    return Finding(
        "in evaluation mode the model gives other logits each time: something random, "
        "such as dropout, is active", "act",
        (Fact("change of logits between two readings", e.probes.noise, f"alarm: {SEES}"),),
        "tie functional dropout to self.training", step=e.first.step, open="logits", weight=8.6,
    )  # fmt: skip


def logit_drift(e: Evidence) -> Finding | None:
    """Logits drift: ln Z moves away from 0, or a term of the loss drives it there."""
    seen = [m for m in e.measured if m.predicted is not None and math.isfinite(m.predicted.log_z)]
    if len(seen) < 2:
        return None
    first, last = seen[0].predicted, seen[-1].predicted
    assert first is not None
    assert last is not None
    driven = [m.predicted.away for m in seen if m.predicted is not None and m.predicted.known]
    if len(driven) >= 2 and min(driven) > AWAY and abs(last.log_z) > abs(first.log_z):
        return _driven_away(seen, driven)
    grows = abs(last.log_z) > DRIFT and abs(last.log_z) > 2 * abs(first.log_z)
    large = last.largest > LOGITS and last.largest > 3 * first.largest
    if not (grows or large):
        return None
    return Finding(
        "the logits drift away from 0", "watch",
        (
            Fact("mean ln Z", last.log_z, f"at the start {first.log_z:.3g}; alarm: {DRIFT}",
                 seen[-1].step),
            Fact("largest logit", last.largest,
                 f"at the start {first.largest:.3g}; alarm: {LOGITS}",
                 seen[-1].step, "logits"),
        ),
        "add the z-loss 1e-4·ln²Z (PaLM), or lower the head's rate",
        step=seen[-1].step, open="logits", weight=3.0,
        change=rates(e, 0.1),
    )  # fmt: skip


def _driven_away(seen: list[Measured], shares: list[float]) -> Finding:
    """As a z-loss of the wrong sign does: cross-entropy by itself drives ln Z nowhere."""
    first, last = seen[0], seen[-1]
    assert first.predicted is not None
    assert last.predicted is not None
    return Finding(
        "a term of the loss drives the logits away from 0, as a z-loss of the wrong sign does",
        "act",
        (
            Fact("share of the gradient at the logits that drives ln Z away from 0",
                 float(np.median(shares)), f"0 of cross-entropy; alarm: {AWAY:g} at each step"),
            Fact("mean ln Z", last.predicted.log_z,
                 f"at step {first.step:,} {first.predicted.log_z:.3g}", last.step),
        ),
        "look for the term that isn't cross-entropy: PaLM's z-loss is added, 1e-4·ln²Z",
        step=first.step, open="logits", weight=7.0,
    )  # fmt: skip


RULES = (
    Rule(sees_the_future, ("probes", "texts"), "exact but for rounding"),
    Rule(context_unread, ("probes",), "exact but for rounding"),
    Rule(examples_mixed, ("probes",), "exact but for rounding"),
    Rule(missing_residual, ("blocks", "start"), "ours"),
    Rule(stream_grows, ("blocks",), "ours"),
    Rule(not_tied, ("measured",), "exact: no threshold"),
    Rule(cache_differs, ("probes",), "ours"),
    Rule(random_in_evaluation, ("probes",), "exact but for rounding"),
    Rule(logit_drift, ("logits", "two steps"), "the remedy is PaLM's z-loss; the limits are ours"),
)
