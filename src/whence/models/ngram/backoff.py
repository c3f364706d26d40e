"""A back-off model: probabilities of n-grams in a tree, and what to do for those that it lacks."""

import math
from dataclasses import dataclass

import numpy as np

NO_TOKEN = np.uint32(0xFFFFFFFF)  # no such token, no such node


@dataclass(frozen=True)
class Table:
    """A back-off model over the nodes of a `Counts` tree.

    log P(w | c) = log_prob[c w] where the n-gram is in the tree, else log_backoff[c] +
    log P(w | c without its first token). A context that isn't in the tree has weight 1. Below the
    empty context lies the uniform distribution.

    Args:
        order, vocab_size, start, bounds, first, token: as in `Counts`.
        log_prob: float32 [nodes], natural logarithms.
        log_backoff: float32 [contexts].
        flat: back off to the uniform distribution at once (add-k), not to shorter contexts.
    """

    order: int
    vocab_size: int
    start: int | None
    bounds: np.ndarray
    first: np.ndarray
    token: np.ndarray
    log_prob: np.ndarray
    log_backoff: np.ndarray
    flat: bool = False

    @property
    def n_outcomes(self) -> int:
        """Tokens that can follow: all of the vocabulary but the start mark."""
        return self.vocab_size - (self.start is not None)

    @property
    def log_uniform(self) -> np.float32:
        """Log of the uniform distribution, 1 / n_outcomes."""
        return np.float32(-math.log(self.n_outcomes))

    @property
    def start_id(self) -> np.uint32:
        """The start mark's id, or `NO_TOKEN`."""
        return NO_TOKEN if self.start is None else np.uint32(self.start)


def score(table: Table, tokens: np.ndarray) -> np.ndarray:
    """Log P of each token given those before it; float32 [N], 0 at a start mark."""
    from whence.models.ngram import backoff_kernels as kernels

    out = np.empty(len(tokens), np.float32)
    nodes = np.full(table.order, NO_TOKEN)
    nodes[0] = 0
    reach = 0
    for begin in range(0, len(tokens), 1 << 22):
        there = slice(begin, begin + (1 << 22))
        reach = kernels.score(
            tokens[there].astype(np.uint32),
            table.first,
            table.token,
            table.log_prob,
            table.log_backoff,
            table.start_id,
            table.flat,
            table.log_uniform,
            nodes,
            reach,
            out[there],
        )
    return out


def contexts(table: Table, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The context after each token of each row.

    Args:
        table: the model.
        rows: uint32 [B, T]; `NO_TOKEN` where there is none, which forgets what was before.

    Returns:
        uint32 [B, T, order]: the node of the last 0, 1 … order − 1 tokens, `NO_TOKEN` where the
        tree hasn't got them; and int64 [B, T]: how many tokens back the context goes.
    """
    from whence.models.ngram import backoff_kernels as kernels

    nodes = np.empty((*rows.shape, table.order), np.uint32)
    reach = np.empty(rows.shape, np.int64)
    kernels.contexts(rows, table.first, table.token, table.start_id, nodes, reach)
    return nodes, reach


def contexts_of(table: Table, tokens: np.ndarray, begin: int, end: int):
    """The context before each of tokens[begin:end] of one long text, as `contexts` gives it."""
    n = table.order
    row = np.full(end - begin + n - 1, NO_TOKEN)
    known = tokens[max(0, begin - n) : end - 1]
    row[len(row) - len(known) :] = known
    nodes, reach = contexts(table, row[None])
    return nodes[0, n - 1 :], reach[0, n - 1 :]


def distributions(table: Table, nodes: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Log P of every token after each context; nodes [M, order], reach [M], result [M, V]."""
    from whence.models.ngram import backoff_kernels as kernels

    out = np.empty((len(nodes), table.vocab_size), np.float32)
    kernels.distributions(
        np.ascontiguousarray(nodes),
        np.ascontiguousarray(reach),
        table.first,
        table.token,
        table.log_prob,
        table.log_backoff,
        table.start_id,
        table.flat,
        table.log_uniform,
        out,
    )
    return out
