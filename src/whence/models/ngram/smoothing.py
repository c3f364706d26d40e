"""From counts to probabilities: maximum likelihood, add-k, and interpolated modified Kneser–Ney.

Each gives the same thing, a back-off table: a log-probability for every n-gram of the text, and a
log-weight for every context, by which the next shorter context's probability is multiplied where
the n-gram was never seen.
"""

import numpy as np

from whence.models.ngram.backoff import Table
from whence.models.ngram.counts.counting import Counts

FALLBACK = (0.5, 1.0, 1.5)


def additive(counts: Counts, k: float) -> Table:
    """Add-k smoothing; with k = 0, maximum likelihood.

    P(w | c) = (count(c w) + k) / (count(c) + k·V). With k = 0 a context that was never seen hands
    over to the longest one that was; with k > 0 it gives the uniform distribution, as the formula
    says. V leaves the start mark out, since it never follows anything.

    Args:
        counts: of the training text.
        k: what is added to each count, at least 0.

    Returns:
        The table.

    Example:
        >>> from whence.models.ngram.counts.counting import count_ngrams
        >>> table = additive(count_ngrams(np.array([0, 1, 0, 2]), 2, vocab_size=3), k=1.0)
        >>> np.exp(table.log_prob[4:]).round(3)  # (0, 1), (0, 2), (1, 0)
        array([0.4, 0.4, 0.5], dtype=float32)

    Source: Lidstone (1920), Note on the general case of the Bayes–Laplace formula.
    """
    from whence.models.ngram import smoothing_kernels as kernels

    log_prob, log_backoff = _outputs(counts)
    V = counts.vocab_size - (counts.start is not None)
    kernels.additive(counts.first, counts.count, k, V, log_prob, log_backoff)
    _silence_start(counts, log_prob)
    return _table(counts, log_prob, log_backoff, flat=k > 0)


def kneser_ney(counts: Counts, discounts: np.ndarray) -> Table:
    """Interpolated modified Kneser–Ney smoothing.

    P(w | c) = (a(c w) − D(a(c w))) / Σ_v a(c v) + γ(c)·P(w | c′), where c′ is c without its first
    token, γ(c) is what the discounts took away, and D is one of three discounts for a = 1, 2 and
    3 or more. For the longest n-grams a is their count; for shorter ones the number of different
    tokens seen before them, so that a word that only ever follows one other ("Francisco") isn't
    predicted elsewhere. N-grams that begin with the start mark have nothing before them and keep
    their count. The empty context is interpolated with the uniform distribution, so no token of
    the vocabulary has probability 0.

    Args:
        counts: of the training text.
        discounts: [order, 4], a row for each length of n-gram: 0, D₁, D₂, D₃₊; from `discounts`.

    Returns:
        The table.

    Source: Chen and Goodman (1998), An empirical study of smoothing techniques.
    """
    from whence.models.ngram import smoothing_kernels as kernels

    suffix = suffixes(counts)
    adjusted = adjusted_counts(counts, suffix)
    log_prob, log_backoff = _outputs(counts)
    V = counts.vocab_size - (counts.start is not None)
    lower = counts.scratch.empty(counts.n_contexts, np.float64)
    kernels.kneser_ney(
        counts.bounds,
        counts.first,
        adjusted,
        suffix,
        discounts,
        1.0 / V,
        lower,
        log_prob,
        log_backoff,
    )
    for array in (suffix, adjusted, lower):
        counts.scratch.free(array)
    _silence_start(counts, log_prob)
    return _table(counts, log_prob, log_backoff, flat=False)


def discounts(counts: Counts) -> tuple[np.ndarray, list[str]]:
    """The three discounts of each order, estimated from how many n-grams occur 1, 2, 3, 4 times.

    Y = n₁ / (n₁ + 2n₂), D₁ = 1 − 2Y·n₂/n₁, D₂ = 2 − 3Y·n₃/n₂, D₃₊ = 3 − 4Y·n₄/n₃. Where one of
    n₁ … n₄ is 0 or a discount comes out at or below 0, the text is too small to estimate them, and
    0.5, 1 and 1.5 are used for that order.

    Args:
        counts: of the training text.

    Returns:
        [order, 4] with 0, D₁, D₂, D₃₊ in each row, and a sentence for each order that fell back.

    Source: Chen and Goodman (1998), equation 26; the fallback is that of lmplz (KenLM).
    """
    suffix = suffixes(counts)
    adjusted = adjusted_counts(counts, suffix)
    rows, notes = np.zeros((counts.order, 4)), []
    for k in range(1, counts.order + 1):
        there = slice(int(counts.bounds[k]), int(counts.bounds[k + 1]))
        n = _counts_of_counts(adjusted[there])
        estimate = _estimate(n[1:5])
        if estimate is None:
            notes.append(
                f"Order {k}: too few n-grams to estimate discounts (n₁ … n₄ = "
                f"{', '.join(str(int(x)) for x in n[1:5])}); 0.5, 1 and 1.5 are used."
            )
        rows[k - 1, 1:] = FALLBACK if estimate is None else estimate
    counts.scratch.free(suffix)
    counts.scratch.free(adjusted)
    return rows, notes


def suffixes(counts: Counts) -> np.ndarray:
    """For each node, the node of its n-gram without the first token; uint32 [nodes]."""
    from whence.models.ngram import smoothing_kernels as kernels

    suffix = counts.scratch.empty(len(counts.token), np.uint32)
    kernels.suffixes(counts.first, counts.token, counts.n_contexts, suffix)
    return suffix


def adjusted_counts(counts: Counts, suffix: np.ndarray) -> np.ndarray:
    """For each node, the a(·) of Kneser–Ney: a count, or a number of different tokens before it."""
    from whence.models.ngram import smoothing_kernels as kernels

    adjusted = counts.scratch.empty(len(counts.token), np.uint32)
    low = int(counts.bounds[counts.order])
    adjusted[:low] = 0
    adjusted[low:] = counts.count[low:]
    if counts.order > 1:
        kernels.continuations(suffix, int(counts.bounds[2]), adjusted)
    if counts.start is not None:
        low, high = 1 + counts.start, 2 + counts.start
        for _ in range(2, counts.order):
            low, high = int(counts.first[low]), int(counts.first[high])
            adjusted[low:high] = counts.count[low:high]
    return adjusted


def _counts_of_counts(adjusted: np.ndarray) -> np.ndarray:
    n = np.zeros(6, np.int64)
    for begin in range(0, len(adjusted), 1 << 16):
        n += np.bincount(np.minimum(adjusted[begin : begin + (1 << 16)], 5), minlength=6)
    return n


def _estimate(n: np.ndarray) -> tuple[float, float, float] | None:
    n1, n2, n3, n4 = (float(x) for x in n)
    if min(n1, n2, n3, n4) == 0:
        return None
    Y = n1 / (n1 + 2 * n2)
    D = (1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3)
    return D if min(D) > 0 else None


def _outputs(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    log_prob = counts.scratch.empty(len(counts.token), np.float32)
    log_prob[0] = 0.0
    return log_prob, counts.scratch.empty(counts.n_contexts, np.float32)


def _silence_start(counts: Counts, log_prob: np.ndarray) -> None:
    if counts.start is not None:
        log_prob[1 + counts.start] = -np.inf


def _table(counts: Counts, log_prob: np.ndarray, log_backoff: np.ndarray, flat: bool) -> Table:
    return Table(
        counts.order,
        counts.vocab_size,
        counts.start,
        counts.bounds,
        counts.first,
        counts.token,
        log_prob,
        log_backoff,
        flat,
    )
