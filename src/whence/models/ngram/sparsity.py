"""How sparse the counts of n-grams are: why the longer ones need smoothing."""

import math
from dataclasses import dataclass

import numpy as np

from whence.errors import WhenceError
from whence.models.ngram.counts.tokens import check_tokens
from whence.models.ngram.model import NGram


@dataclass(frozen=True)
class OrderSparsity:
    """What the training text shows of the n-grams of one length, and what held-out text needs.

    Attributes:
        order: their length, k.
        possible: how many there could be; V^k without the start mark, a float for it can be large.
        distinct: how many different ones the text has.
        once: how many of those occur a single time.
        contexts: how many different (k − 1)-grams are followed by something.
        matched: share of the held-out tokens whose longest n-gram seen in training has k tokens;
            None without held-out text.
    """

    order: int
    possible: float
    distinct: int
    once: int
    contexts: int
    matched: float | None = None

    @property
    def followers(self) -> float:
        """Mean number of different tokens after a context."""
        return self.distinct / max(1, self.contexts)

    @property
    def share_seen(self) -> float:
        """The part of what is possible that occurs."""
        return self.distinct / self.possible


def sparsity(model: NGram, held_out: np.ndarray | None = None) -> list[OrderSparsity]:
    """How much of what is possible the training text shows, for each length up to the order.

    Args:
        model: fitted by counting.
        held_out: ids of text to look up, [N], if wanted.

    Returns:
        One entry for each length, from 1 on. The shares `matched` add up to 1, but for held-out
        tokens that the training text hasn't got at all.

    Raises:
        WhenceError: the model was not made by counting, or an id is outside the vocabulary.

    Example:
        >>> from whence.models.ngram.model import NGramConfig
        >>> model = NGram(NGramConfig(order=2), vocab_size=3).fit(np.array([0, 1, 0, 1, 2]))
        >>> [(o.order, o.distinct, o.possible, o.once) for o in sparsity(model)]
        [(1, 3, 3.0, 1), (2, 3, 9.0, 2)]
    """
    from whence.models.ngram import backoff_kernels as kernels

    counts, table = model.counts, model.fitted_table
    if counts is None:
        raise WhenceError("This n-gram model has no counts: fit one on the text itself.")
    matches = np.zeros(table.order + 1, np.int64)
    if held_out is not None:
        check_tokens(held_out, model.vocab_size)
        kernels.longest_match(
            held_out.astype(np.uint32),
            counts.first,
            counts.token,
            counts.count,
            table.start_id,
            table.order,
            matches,
        )
    predicted = None if held_out is None else int(np.count_nonzero(held_out != table.start_id))
    orders = []
    for k in range(1, table.order + 1):
        seen = counts.count[counts.bounds[k] : counts.bounds[k + 1]]
        children = np.diff(counts.first[counts.bounds[k - 1] : counts.bounds[k] + 1])
        orders.append(
            OrderSparsity(
                order=k,
                possible=_power(table.n_outcomes, k),
                distinct=int(np.count_nonzero(seen)),
                once=int(np.count_nonzero(seen == 1)),
                contexts=int(np.count_nonzero(children)),
                matched=None if predicted is None else float(matches[k]) / max(1, predicted),
            )
        )
    return orders


def _power(base: int, exponent: int) -> float:
    return math.inf if exponent * math.log10(base) > 308 else float(base) ** exponent
