"""Rules on the data: what is repeated, out of order, leaked, unused or doesn't belong."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.rules.rule import Rule
from whence.doctor.texts import FAR

REPEATED = 0.3  # share of examples that came before: ours
COPIED = 0.9  # less is what short examples of few possibilities share by chance: ours
OVERLAP = 0.1  # share of validation windows in the training text beyond its own repeats: ours
SORTED = 0.6  # likelier than chance that neighbours share a label: ours
VOCABULARY = 0.5  # share of the vocabulary that the data use: ours
WINDOW = 0.3  # share of the window that an example fills: ours
LONG_ROW = 8  # tokens whose mean says something of an example: ours
FORGOTTEN = 0.3  # update / weight: above it what was learnt is gone at the next step: ours
ROW_LOSS, ROW_MORE = 1.5, 0.7  # its loss: times the median of the rows, and nats above: ours


def targets_shifted(e: Evidence) -> Finding | None:
    """The target is not the next token: it is at another place of the input."""
    assert e.texts is not None
    shift = e.texts.shift
    if e.setup.kind != "tokens" or shift is None or shift == 1:
        return None
    what = {0: "the token itself", -1: "the token before"}.get(shift, f"{shift} tokens ahead")
    return Finding(
        f"the targets are shifted: the model learns to predict {what}, not the next token", "act",
        (
            Fact("the target is so many tokens ahead in the input", shift, "1"),
            Fact("targets that this explains", e.texts.shift_share),
        ),
        "take inputs tokens[:-1] and targets tokens[1:], and shift once: Hugging Face's models "
        "shift the labels themselves",
        step=e.first.step, open="loss", weight=9.95,
    )  # fmt: skip


def targets_unrelated(e: Evidence) -> Finding | None:
    """The targets do not follow the inputs: no shift explains them."""
    assert e.texts is not None
    t = e.texts
    if e.setup.kind != "tokens" or t.shift is not None or not t.shift_share < 0.5:
        return None
    if not e.setup.is_run and e.probes is not None and (e.probes.ahead or 0) > 0.05:
        return None  # sees all: other tasks than the next token are possible
    return Finding(
        "the targets do not follow from the inputs, however far they are shifted", "act",
        (Fact("targets that the best shift explains", t.shift_share, "1"),),
        "see that inputs and targets are cut from the same place, and shuffled together",
        step=e.first.step, open="loss", weight=9.0,
    )  # fmt: skip


def same_batch(e: Evidence) -> Finding | None:
    """Every step reads the same batch, from the start or from one step on."""
    assert e.texts is not None
    stuck = e.texts.stuck_from
    if e.texts.same_batch < 0.5 and stuck is None:
        return None
    return Finding(
        "the same batch is read again and again"
        + (f", from step {stuck:,} on" if stuck is not None and stuck > e.first.step + 1 else ""),
        "act" if e.setup.kind == "tokens" else "watch",
        (Fact("steps that read the batch of the step before", e.texts.same_batch, "0"),),
        "draw a new batch inside the loop", step=e.first.step if stuck is None else stuck,
        weight=8.9,
    )  # fmt: skip


def repeated_examples(e: Evidence) -> Finding | None:
    """The same examples come several times."""
    assert e.texts is not None
    t = e.texts
    if t.same_batch > 0.5 or t.rows < 32:
        return None
    share = max(t.repeated, t.own_copies if math.isfinite(t.own_copies) else 0.0)
    if share < REPEATED:
        return None
    certain = share > 0.5 and (t.copied > COPIED or share > t.repeated)
    return Finding(
        f"{share:.0%} of the examples are copies of others", "act" if certain else "watch",
        (
            Fact("examples that came before", t.repeated, f"alarm: {REPEATED}"),
            Fact("long pieces of the training text that occur there twice", t.own_copies),
            Fact("of those whose first half came before, continue as it did", t.copied,
                 f"sure above {COPIED}; ours"),
            Fact("examples looked at", t.rows),
        ),
        "take copies out of the data", step=e.first.step, weight=6.2,
    )  # fmt: skip


def not_shuffled(e: Evidence) -> Finding | None:
    """Examples come in the order of the text, or sorted by label."""
    assert e.texts is not None
    t = e.texts
    chained = t.in_order if math.isfinite(t.in_order) else 0.0
    ordered = t.sorted_labels if math.isfinite(t.sorted_labels) else 0.0
    if (chained < 0.9 and ordered < SORTED) or t.same_batch > 0.5:
        return None
    facts = [Fact("examples that go on where the one before ended", chained, "alarm: 0.9")]
    if ordered >= SORTED:
        facts = [Fact("neighbours with the same label, beyond chance", ordered, f"alarm: {SORTED}")]
    return Finding(
        "the data are not shuffled", "act" if ordered >= SORTED else "watch", tuple(facts),
        "shuffle the examples again in each epoch", step=e.first.step, weight=6.4,
    )  # fmt: skip


def validation_leaks(e: Evidence) -> Finding | None:
    """The validation text is also in the training text."""
    assert e.texts is not None
    t = e.texts
    if math.isnan(t.overlap):
        return None
    own = t.own_copies if math.isfinite(t.own_copies) else 0.0
    if t.overlap - own < OVERLAP:
        return None
    return Finding(
        f"{t.overlap:.0%} of the validation text is also in the training text", "act",
        (
            Fact("long pieces of validation found in training", t.overlap, f"alarm: {OVERLAP}"),
            Fact("training's own repeats", own),
            Fact("one of them", t.overlap_example),
        ),
        "keep back text that training never reads", weight=7.9,
    )  # fmt: skip


def unused_vocabulary(e: Evidence) -> Finding | None:
    """The vocabulary is far larger than what the data use."""
    assert e.texts is not None
    used = e.texts.vocabulary
    if math.isnan(used) or used > VOCABULARY or e.setup.vocab_size < 40:
        return None
    length = max([m.predicted.length for m in e.measured if m.predicted is not None] or [1])
    if e.texts.rows * max(1, length) < 5 * e.setup.vocab_size and not e.setup.is_run:
        return None  # too little was seen to say so
    return Finding(
        f"{1 - used:.0%} of the vocabulary never comes in the data", "watch",
        (
            Fact("share of the vocabulary that comes", used, f"alarm: {VOCABULARY}"),
            Fact("vocabulary", e.setup.vocab_size),
        ),
        "train a tokenizer on these data, or a smaller vocabulary", step=e.first.step, weight=6.6,
    )  # fmt: skip


def short_examples(e: Evidence) -> Finding | None:
    """Examples are far shorter than the window that the model is built for."""
    assert e.texts is not None
    if not e.texts.window < WINDOW:
        return None
    return Finding(
        f"examples fill {e.texts.window:.0%} of the model's window", "watch",
        (Fact("tokens of an example / window", e.texts.window, f"alarm: {WINDOW}"),),
        "take a shorter window, or pack several examples into one", step=e.first.step, weight=5.0,
    )  # fmt: skip


def poisoned_rows(e: Evidence) -> Finding | None:
    """A few examples cost far more than the others at every step, or are far larger."""
    if e.texts is not None and e.texts.far_inputs:
        return _far_larger(e.texts.far_inputs)
    hits, worst = [], None
    for m in e.measured:
        p = m.predicted
        if p is None or not p.known or m.refused or not len(p.losses) or m.ratio > FORGOTTEN:
            continue
        n = len(p.row_share)
        if n < 4 or p.length < LONG_ROW or len(p.losses) != n * p.length:
            continue  # of a single class one bad guess would be enough
        each = p.losses.reshape(n, -1)
        counted = np.isfinite(each).sum(1)
        if not counted.any():
            continue
        rows = np.nansum(each, axis=1) / np.maximum(counted, 1)
        middle = float(np.median(rows[counted > 0]))
        if e.texts is not None and middle > e.texts.target_entropy:
            continue  # the others aren't learnt either
        out = np.flatnonzero(rows > max(ROW_LOSS * middle, middle + ROW_MORE))
        if m.step and len(out) and len(out) <= max(1, n // 4):
            hits.append(m.step)
            top = int(np.argmax(rows))
            worst = (m, top, float(rows[top]), middle, float(p.row_share[top]))
    late = [m for m in e.measured if m.step > 0 and not m.refused]
    if worst is None or len(hits) < max(1, (len(late) + 1) // 2):
        return None
    m, top, loss, middle, share = worst
    return Finding(
        "some examples do not belong to the data: they cost far more than the others", "act",
        (
            Fact(f"loss of example {top}", loss, f"median of the others: {middle:.3g}", m.step),
            Fact("its share in the gradient at the logits", share, "", m.step),
            Fact("steps with such examples", len(hits), f"of {len(e.measured)} looked at"),
        ),
        "read those examples, and leave them out if they are not what the model should learn",
        step=hits[0], open="loss", weight=6.9,
    )  # fmt: skip


def _far_larger(far: dict[int, tuple[int, float]]) -> Finding:
    """An example whose inputs are of another size; the model may predict it well all the same."""
    step = min(far)
    example, times = far[step]
    return Finding(
        f"the inputs of example {example} of step {step:,} are {times:,.3g} times as large as "
        "usual",
        "watch",
        (
            Fact("size of its inputs, of the median example's", times, f"alarm: {FAR:g}; ours",
                 step),
            Fact("steps with such an example", len(far)),
        ),
        "read that example: see its units, and leave it out if it is a mistake",
        step=step, open="loss", weight=6.9,
    )  # fmt: skip


RULES = (
    Rule(targets_shifted, ("targets", "texts"), "exact: no threshold"),
    Rule(targets_unrelated, ("targets", "texts"), "ours"),
    Rule(same_batch, ("texts",), "exact: no threshold"),
    Rule(repeated_examples, ("texts",), "ours"),
    Rule(not_shuffled, ("texts",), "ours"),
    Rule(validation_leaks, ("texts",), "ours"),
    Rule(unused_vocabulary, ("texts",), "ours"),
    Rule(short_examples, ("texts",), "ours"),
    Rule(poisoned_rows, ("targets",), "ours"),
)
