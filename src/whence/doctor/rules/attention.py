"""Rules on attention: its axis, scale and positions, padding, and collapse."""

from __future__ import annotations

import math

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.measuring.measured import Reading
from whence.doctor.rules.changes import model, rates
from whence.doctor.rules.rule import Rule

SEES = 1e-3  # of the logits' spread: more than rounding moves them


def wrong_axis(e: Evidence) -> Finding | None:
    """Attention's softmax runs over the queries: the weights of a query do not add up to 1."""
    bad = [(m, r) for m in e.measured for r in m.readings if not r.axis or r.rows > 0.05]
    if not bad:
        return None
    m, r = bad[0]
    return Finding(
        f"the softmax of {r.name or 'attention'} runs along the wrong axis", "act",
        (Fact("a query's weights add up to 1, off by", r.rows, "0", m.step, r.name),),
        "take the softmax along the keys: dim=-1", step=m.step, open=r.name, weight=9.99,
    )  # fmt: skip


def missing_scale(e: Evidence) -> Finding | None:
    """Attention's products are not divided by √d."""
    off = [r for r in e.first.readings if _unscaled(r)]
    if not off or len(off) < 0.5 * len(e.first.readings):
        return None
    r = max(off, key=lambda r: r.d)
    sharp = r.scores > 1.5
    return Finding(
        f"attention's scores are not divided by √d (d = {r.d})", "act",
        (
            Fact("factor of the products, times √d", r.scale, "1", e.first.step, r.name),
            Fact("standard deviation of the scores", r.scores, "about 1 or less", e.first.step),
            Fact("entropy of the weights, of its largest", r.entropy, "", e.first.step),
        ),
        "divide the scores by √d" + ("" if sharp else ", unless queries and keys are normed"),
        step=e.first.step, open=r.name, weight=7.8,
    )  # fmt: skip


def _unscaled(r: Reading) -> bool:
    return math.isfinite(r.scale) and r.d >= 4 and abs(r.scale / math.sqrt(r.d) - 1) < 0.02


def attention_collapse(e: Evidence) -> Finding | None:
    """Heads read one token only: the entropy of their weights is near 0."""
    m = e.last
    collapsed = [r for r in m.readings if r.collapsed > 0.5 and r.scores > 10]
    if not collapsed or len(collapsed) < 0.5 * len(m.readings):
        return None
    r = min(collapsed, key=lambda r: r.entropy)
    return Finding(
        f"attention has collapsed in {r.name or 'a layer'}: its heads read one token each", "act",
        (
            Fact("entropy of the weights, of its largest", r.entropy, "near 0", m.step, r.name),
            Fact("standard deviation of the scores", r.scores, "", m.step, r.name),
            Fact("share of heads", r.collapsed, "alarm: 0.5; ours", m.step),
        ),
        "lower the rate, or normalise queries and keys (arXiv 2303.06296)",
        step=m.step, open=r.name, weight=4.3,
        change=rates(e, 0.1),
    )  # fmt: skip


def no_positions(e: Evidence) -> Finding | None:
    """Attention has no information about positions."""
    assert e.probes is not None
    if e.probes.place is not False:
        return None
    causal = e.probes.ahead is not None and e.probes.ahead < SEES
    return Finding(
        "positions do not reach attention: the same token has the same query everywhere", "act",
        (
            Fact("queries and keys of equal tokens differ by place", "no"),
            Fact("only the mask tells order", "yes" if causal else "no: order can't be learnt"),
        ),
        "add positions to the embedding, or rotate queries and keys",
        step=e.first.step, open="", weight=9.2,
        change=model(e, "positions", "none", "rotary"),
    )  # fmt: skip


def padding_read(e: Evidence) -> Finding | None:
    """Predictions change with the padding: it is attended to."""
    assert e.probes is not None
    p = e.probes
    if p.hidden is None or p.hidden < SEES or p.padded == 0:
        return None
    if not p.marked and e.setup.kind == "tokens":
        return None  # behind the tokens that count, and hidden by a causal mask or harmless
    return Finding(
        "padding is read: its content changes the predictions", "act",
        (
            Fact("change of logits when padding changes", p.hidden, f"alarm: {SEES}"),
            Fact("share of the tokens that is padding", p.padded),
        ),
        "hide padding in every attention, and leave it out of every mean",
        step=e.first.step, open="logits", weight=8.7,
    )  # fmt: skip


def padding_counted(e: Evidence) -> Finding | None:
    """Targets at padding count in the loss."""
    assert e.probes is not None
    counted = e.probes.pad_counted
    if counted is None or counted < 0.5 or e.probes.padded < 0.02:
        return None
    return Finding(
        "padding counts in the loss: the model learns to predict it", "act",
        (
            Fact("padding positions whose target counts", counted, "0"),
            Fact("share of the tokens that is padding", e.probes.padded),
        ),
        "set the targets of padding to the ignored index (-100)",
        step=e.first.step, open="loss", weight=8.4,
    )  # fmt: skip


RULES = (
    Rule(wrong_axis, ("attention",), "exact but for rounding"),
    Rule(missing_scale, ("attention", "start"), "Vaswani et al. 2017: 1/√d"),
    Rule(
        attention_collapse,
        ("attention",),
        "entropy: arXiv 2303.06296, which gives no cut-off; ours",
    ),
    Rule(no_positions, ("probes",), "exact but for rounding"),
    Rule(padding_read, ("probes",), "exact but for rounding"),
    Rule(padding_counted, ("probes", "targets"), "exact: no threshold"),
)
