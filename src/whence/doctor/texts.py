"""What the data show by themselves: repeats, order, overlap, and how targets follow inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from whence.doctor.evidence import Texts
from whence.doctor.measuring.measured import Predicted

SHIFTS = range(-1, 5)
LONG = {"chars": 64, "bytes": 64}  # tokens in a row that two texts share by copying only: ours
FAR = 100.0  # times the size of the median example's inputs: ours
FEW = 0.01  # of the examples, else it is how they are spread: ours
STUCK = 5  # steps in a row that read one batch, up to the last: ours
MOST_WINDOWS = 300
MOST_TOKENS = 1 << 24


def look_at_rows(
    found: Texts, batches: Sequence[np.ndarray], steps: Sequence[int] | None = None
) -> None:
    """Note repeats and order of the examples that some steps in a row read.

    Args:
        found: is filled in.
        batches: of each step, in order, the ids [B, T] (or other inputs, laid flat).
        steps: the steps' numbers; None: 0, 1, 2, …
    """
    rows = [row.tobytes() for batch in batches for row in batch]
    found.rows = len(rows)
    if not rows:
        return
    found.repeated = 1 - len(set(rows)) / len(rows)
    halves = [row[: max(1, len(row) // 2)].tobytes() for batch in batches for row in batch]
    again = len(halves) - len(set(halves))
    found.copied = (len(rows) - len(set(rows))) / again if again else 1.0
    whole = [batch.tobytes() for batch in batches]
    if len(whole) > 1:
        same = [a == b for a, b in pairwise(whole)]
        found.same_batch = float(np.mean(same))
        fresh = max((i + 1 for i, equal in enumerate(same) if not equal), default=0)
        if len(whole) - 1 - fresh >= STUCK:
            found.stuck_from = (steps or range(len(whole)))[fresh + 1]


def look_at_sizes(found: Texts, batches: Sequence[np.ndarray], steps: Sequence[int]) -> None:
    """Note the few examples whose inputs, where they are numbers, are far larger than the others'.

    Args:
        found: is filled in.
        batches: of each step the inputs, an example a row.
        steps: the steps' numbers.
    """
    sizes = [
        np.sqrt(np.square(batch, dtype=np.float64).mean(1))
        for batch in batches
        if batch.dtype.kind == "f" and batch.size
    ]
    if len(sizes) != len(batches) or not sizes:
        return
    every = np.concatenate(sizes)
    every = every[np.isfinite(every)]
    usual = float(np.median(every)) if len(every) else 0.0
    far = every > FAR * usual
    if not usual > 0 or far.sum() > max(1, FEW * len(every)):
        return
    for step, of_step in zip(steps, sizes, strict=True):
        of_step = np.where(np.isfinite(of_step), of_step, 0.0)
        if of_step.max() > FAR * usual:
            found.far_inputs[step] = int(of_step.argmax()), float(of_step.max() / usual)


def look_at_order(found: Texts, predictions: Sequence[Predicted]) -> None:
    """Note how targets follow inputs, from steps whose targets are known."""
    known = [p for p in predictions if p.known]
    with_tokens = [p for p in known if p.tokens is not None and p.length > 1]
    targets = [p.targets[p.targets >= 0] for p in known]
    flat = np.concatenate(targets) if targets else np.zeros(0, np.int64)
    if len(flat) and (math.isnan(found.target_entropy) or len(flat) > found.tokens):
        found.target_entropy, found.tokens = entropy_of(flat), len(flat)
    if with_tokens:
        shares = {shift: _explained(with_tokens, shift) for shift in SHIFTS}
        best = max(shares, key=lambda s: (round(shares[s], 3), s == 1))
        found.shift_share = shares[best]
        found.shift = best if shares[best] > 0.9 else None
        chained = [c for p in with_tokens if math.isfinite(c := _chained(p, found.target_entropy))]
        found.in_order = float(np.mean(chained)) if chained else math.nan
    labels = [p.targets for p in known if p.tokens is None and len(p.targets) >= 4]
    if labels:
        found.sorted_labels = _sorted(labels)


def _explained(predictions: Sequence[Predicted], shift: int) -> float:
    """The share of counted targets that are in the input, so many places ahead."""
    hits = count = 0
    for p in predictions:
        assert p.tokens is not None
        tokens, targets = p.tokens.reshape(-1, p.length), p.targets.reshape(-1, p.length)
        if shift >= p.length:
            continue
        low, high = max(0, -shift), p.length - max(0, shift)
        ahead = tokens[:, low + shift : high + shift]
        wanted = targets[:, low:high]
        counted = wanted >= 0
        hits += int((counted & (ahead == wanted)).sum())
        count += int(counted.sum())
    return hits / count if count else 0.0


def _chained(p: Predicted, entropy: float) -> float:
    """The share of a batch's examples that go on where the one before ended.

    Where the last target of an example isn't counted, as in Hugging Face's models, the model
    itself is asked: a first token that it foresees from the example before follows on it. It must
    have learnt something for that; NaN where it hasn't.
    """
    assert p.tokens is not None
    tokens, targets = p.tokens.reshape(-1, p.length), p.targets.reshape(-1, p.length)
    if len(tokens) < 3:
        return math.nan
    if (targets[:, -1] >= 0).all():
        return float((targets[:-1, -1] == tokens[1:, 0]).mean())
    losses = p.losses[np.isfinite(p.losses)]
    loss = float(losses.mean()) if len(losses) else math.nan
    if not loss < 0.8 * entropy or not math.isfinite(p.boundary):
        return math.nan
    return 1.0 if p.boundary < loss + 0.3 * (entropy - loss) else 0.0


def _sorted(labels: Sequence[np.ndarray]) -> float:
    """How often neighbours share a label, less what chance gives, between 0 and 1."""
    same = np.concatenate([a[1:] == a[:-1] for a in labels])
    every = np.concatenate(labels)
    shares = np.bincount(every[every >= 0]) / max(1, len(every))
    chance = float((shares**2).sum())
    single = all(len(np.unique(a)) == 1 for a in labels)
    if chance >= 0.999:
        return 0.0
    if single:
        return 1.0
    return max(0.0, (float(same.mean()) - chance) / (1 - chance))


def look_at_text(
    found: Texts, train: np.ndarray, validation: np.ndarray, vocab_size: int, kind: str
) -> None:
    """Note what a tokenised text shows.

    Args:
        found: is filled in.
        train: ids to train on.
        validation: ids held back.
        vocab_size: tokens there are.
        kind: of the tokenizer.
    """
    some = np.asarray(train[:MOST_TOKENS])
    counts = np.bincount(some, minlength=vocab_size)
    found.vocabulary = float((counts > 0).mean())
    found.target_entropy, found.tokens = entropy_of(some), len(some)
    n = LONG.get(kind, 24)
    raw = some.tobytes()
    held = np.asarray(validation)
    if len(held) >= n + 1:
        starts = np.unique(np.linspace(0, len(held) - n, MOST_WINDOWS).astype(np.int64))
        where = [_find(raw, held[s : s + n].astype(some.dtype), some.itemsize) for s in starts]
        found.overlap = float(np.mean([w >= 0 for w in where]))
        hit = next((int(s) for s, w in zip(starts, where, strict=True) if w >= 0), None)
        found.overlap_example = "" if hit is None else f"validation token {hit:,}"
    if len(some) > 4 * n:
        starts = np.unique(np.linspace(0, len(some) - n, MOST_WINDOWS // 3).astype(np.int64))
        found.own_copies = float(np.mean([_again(raw, some, int(s), n) for s in starts]))


def _find(raw: bytes, piece: np.ndarray, size: int, start: int = 0) -> int:
    """Where a piece of ids is, in tokens; −1: nowhere."""
    wanted, at = piece.tobytes(), start * size
    while (at := raw.find(wanted, at)) >= 0:
        if at % size == 0:
            return at // size
        at += 1
    return -1


def _again(raw: bytes, tokens: np.ndarray, start: int, n: int) -> bool:
    piece = tokens[start : start + n]
    first = _find(raw, piece, tokens.itemsize)
    return first != start or _find(raw, piece, tokens.itemsize, start + 1) >= 0


def entropy_of(ids: np.ndarray) -> float:
    """Return the entropy of how often each id comes, in nats.

    Example:
        >>> round(entropy_of(np.array([0, 1, 0, 1])), 4)
        0.6931
    """
    shares = np.bincount(ids) / max(1, len(ids))
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
