"""Probabilities on the training text that don't know the answer.

A counted model has seen every token of its training text, so there it is surer than on any other
text. A model trained on top of it would learn to trust it too much. Leaving one out mends that:
each token is predicted from the counts of all the others.
"""

import numpy as np

from whence.models.ngram.backoff import Table
from whence.models.ngram.counts.counting import Counts
from whence.models.ngram.smoothing import adjusted_counts, suffixes


class LeaveOneOut:
    """Kneser–Ney probabilities from counts without the event that is being predicted.

    The event (context → token) takes 1 from the count of its longest n-gram. Where that was the
    n-gram's only occurrence, it is no longer one of the tokens seen before the next shorter n-gram,
    whose a(·) falls by 1 in turn, and so on. The discounts stay those of the whole text.

    Args:
        counts: of the training text.
        table: what Kneser–Ney made of them.
        discounts: [order, 4], as used for the table.
    """

    def __init__(self, counts: Counts, table: Table, discounts: np.ndarray):
        self.counts = counts
        self.table = table
        self.discounts = discounts
        suffix = suffixes(counts)
        self.adjusted = adjusted_counts(counts, suffix)
        counts.scratch.free(suffix)
        self.unigram = np.exp(table.log_prob[1 : 1 + table.vocab_size])

    def log_probs(self, nodes: np.ndarray, reach: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Log P of every token after each context, `targets` being what did follow.

        Args:
            nodes: uint32 [M, order], from `backoff.contexts`.
            reach: int64 [M].
            targets: uint32 [M].

        Returns:
            float32 [M, V].
        """
        from whence.models.ngram import backoff_kernels as kernels

        out = np.empty((len(targets), self.table.vocab_size), np.float32)
        kernels.leave_one_out(
            np.ascontiguousarray(nodes),
            np.ascontiguousarray(reach),
            np.ascontiguousarray(targets),
            self.table.first,
            self.table.token,
            self.adjusted,
            self.discounts,
            self.unigram,
            self.table.start_id,
            out,
        )
        with np.errstate(divide="ignore"):  # a start mark's 0 becomes −inf
            return np.log(out, out=out)
