"""Counts of n-grams, sparse and of any order, in memory that has a limit.

Contexts are numbered order by order: if the (k−1)-gram that ends at position i has number c, the
k-gram that ends at i + 1 is the pair (c, token), and its number is its rank among the distinct
pairs. So a key is never longer than 64 bits, whatever the order. The pairs are counted in a table
where that table is small, else sorted; where a text is longer than the memory limit allows, they
are sorted a part at a time, each part's distinct pairs written to disk as a run, and the runs
merged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whence.errors import WhenceError
from whence.models.ngram.counts.scratch import Scratch
from whence.models.ngram.counts.tokens import check_tokens, parts_of

MB = 1 << 20


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text as one tree: the children of a node are the tokens that followed it.

    Nodes are numbered breadth first: 0 is the empty context, 1 … V the tokens, then the bigrams in
    order of (context, token), and so on. The children of node x are `first[x] … first[x + 1] − 1`.
    A node's `count` says how often its token followed its context. A start mark is a context but
    is never counted as a token that follows, and no context reaches back across it.

    Args:
        order: longest n-gram counted.
        vocab_size: V, number of different tokens.
        start: id of the start mark, or None.
        bounds: int64 [order + 2]; the k-grams are the nodes bounds[k] … bounds[k + 1] − 1.
        first: uint32 [bounds[order] + 1]; first child of each context.
        token: uint32 [bounds[order + 1]]; last token of each n-gram.
        count: uint32 [bounds[order + 1]].
        scratch: owner of the files of the arrays that didn't fit in memory.
    """

    order: int
    vocab_size: int
    start: int | None
    bounds: np.ndarray
    first: np.ndarray
    token: np.ndarray
    count: np.ndarray
    scratch: Scratch

    @property
    def n_contexts(self) -> int:
        """Number of nodes that may have children: all but the longest n-grams."""
        return int(self.bounds[self.order])

    def node(self, ngram: tuple[int, ...]) -> int | None:
        """The node of an n-gram of token ids, or None if it isn't in the text."""
        node = 0
        for token in ngram:
            children = self.token[self.first[node] : self.first[node + 1]]
            place = int(np.searchsorted(children, token))
            if place == len(children) or children[place] != token:
                return None
            node = int(self.first[node]) + place
        return node


@dataclass
class _Level:
    """The n-grams of one order while the tree grows; node numbers start at 0 within the level."""

    first: np.ndarray
    token: np.ndarray
    count: np.ndarray


def count_bigrams(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """How often each token follows each other one, for a small vocabulary.

    Args:
        tokens: ids, [N].
        vocab_size: V; the result is V × V, so a few thousand at most.

    Returns:
        uint32 [V, V]; row v, column w holds count(v, w).

    Raises:
        WhenceError: an id is outside the vocabulary, or the table would pass 4 GB.

    Example:
        >>> count_bigrams(np.array([0, 1, 0, 1, 1]), 2).tolist()
        [[0, 2], [1, 1]]
    """
    from whence.models.ngram.counts import counting_kernels as kernels

    if vocab_size > 1 << 15:
        raise WhenceError(
            f"A table of {vocab_size:,} × {vocab_size:,} counts is too large: use count_ngrams."
        )
    check_tokens(tokens, vocab_size)
    counts = np.zeros(vocab_size * vocab_size, np.uint32)
    if len(tokens) > 1:
        kernels.count_pairs(np.ascontiguousarray(tokens), vocab_size, counts)
    return counts.reshape(vocab_size, vocab_size)


def count_ngrams(
    tokens: np.ndarray,
    order: int,
    vocab_size: int,
    *,
    start: int | None = None,
    memory_mb: int = 1024,
    folder: Path | None = None,
) -> Counts:
    """Counts every n-gram of length 1 … `order` in `tokens`.

    Args:
        tokens: ids, [N]; may be an `np.memmap` longer than memory.
        order: longest n-gram, at least 1.
        vocab_size: number of different tokens.
        start: id of the start mark, if the text has one: a context, never an outcome.
        memory_mb: limit on the memory of the arrays made here; beyond it they go to files.
        folder: where those files go; by default the system's temporary folder.

    Returns:
        The counts, as a tree.

    Raises:
        WhenceError: no tokens, an id outside the vocabulary, a text of 2³² tokens or more, or a
            disk too full.

    Example:
        >>> counts = count_ngrams(np.array([0, 1, 0, 1, 1]), order=2, vocab_size=2)
        >>> int(counts.count[counts.node((0, 1))])
        2
    """
    if order < 1:
        raise WhenceError(f"The order is {order}: an n-gram has at least 1 token.")
    if memory_mb < 1:
        raise WhenceError(f"memory_mb is {memory_mb}: give at least 1.")
    check_tokens(tokens, vocab_size)
    counter = _Counter(tokens, vocab_size, start, memory_mb * MB, folder)
    levels = [counter.unigrams()]
    for k in range(2, order + 1):
        levels.append(counter.next_level(len(levels[-1].token), last=k == order))
    counter.scratch.free(counter.ids)
    return _as_tree(levels, vocab_size, start, counter.scratch)


class _Counter:
    """One pass per order over the tokens, a part at a time, keeping each position's n-gram."""

    def __init__(
        self,
        tokens: np.ndarray,
        vocab_size: int,
        start: int | None,
        limit: int,
        folder: Path | None,
    ):
        self.tokens = tokens
        self.vocab_size = vocab_size
        self.start = np.uint32(0xFFFFFFFF if start is None else start)
        # Half of the limit for what lasts, a quarter for tables of cells, a quarter for one part:
        # its keys, counts, contexts and tokens take 24 bytes a position, merging about as much.
        self.limit = limit
        self.scratch = Scratch(limit // 2, folder)
        self.part_size = max(1024, limit // 4 // 48)
        self.ids = self.scratch.empty(len(tokens), np.uint32)

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each part: the n-gram that ends at each position, and the token there."""
        for part in parts_of(len(self.tokens), self.part_size):
            yield np.asarray(self.ids[part]), self.tokens[part].astype(np.uint32)

    def steps(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each part: the n-gram that ends at each position, and the token after it."""
        for part in parts_of(len(self.tokens) - 1, self.part_size):
            after = slice(part.start + 1, part.stop + 1)
            yield np.asarray(self.ids[part]), self.tokens[after].astype(np.uint32)

    def unigrams(self) -> _Level:
        count = np.zeros(self.vocab_size, np.int64)
        for part in parts_of(len(self.tokens), self.part_size):
            self.ids[part] = self.tokens[part]
            count += np.bincount(self.tokens[part], minlength=self.vocab_size)
        if self.start < self.vocab_size:
            count[self.start] = 0
        return _Level(
            np.array([0, self.vocab_size], np.uint32),
            np.arange(self.vocab_size, dtype=np.uint32),
            count.astype(np.uint32),
        )

    def next_level(self, n_contexts: int, last: bool) -> _Level:
        cells = n_contexts * self.vocab_size
        if 4 * cells <= self.limit // 4 and cells <= max(8 * len(self.tokens), 1 << 16):
            return self._by_cells(n_contexts, last)
        return self._by_sorting(n_contexts, last)

    def _by_cells(self, n_contexts: int, last: bool) -> _Level:
        from whence.models.ngram.counts import counting_kernels as kernels

        V, start = self.vocab_size, self.start
        cells = np.zeros(n_contexts * V, np.uint32)
        for contexts, following in self.steps():
            kernels.count_cells(contexts, following, V, start, cells)
        n = int(np.count_nonzero(cells))
        level = _Level(
            self.scratch.empty(n_contexts + 1, np.uint32),
            self.scratch.empty(n, np.uint32),
            self.scratch.empty(n, np.uint32),
        )
        kernels.pack_cells(cells, V, level.first, level.token, level.count)
        if not last:
            before = kernels.NONE
            for ids, tokens in self.parts():
                before = kernels.number_by_cells(ids, tokens, V, start, cells, before)
        return level

    def _by_sorting(self, n_contexts: int, last: bool) -> _Level:
        from whence.models.ngram.counts import counting_kernels as kernels
        from whence.models.ngram.counts.spill import Runs

        V, start = self.vocab_size, self.start
        runs = Runs(self.scratch, in_memory=len(self.tokens) <= self.part_size)
        for contexts, following in self.steps():
            keys = np.empty(len(contexts), np.int64)
            keys = keys[: kernels.keys_of(contexts, following, V, start, keys)]
            keys.sort()
            counts = np.empty(len(keys), np.uint32)
            n = kernels.run_lengths(keys, counts)
            runs.add(keys[:n], counts[:n])
        first = self.scratch.empty(n_contexts + 1, np.uint32)
        first[:] = 0
        token = self.scratch.empty(runs.most, np.uint32)
        count = self.scratch.empty(runs.most, np.uint32)
        n = 0
        for keys, counts in runs.merged(block=self.part_size):
            there = slice(n, n + len(keys))
            kernels.split_keys(keys, V, token[there], first)
            count[there] = counts
            n += len(keys)
        kernels.running_sum(first)
        if not last:
            before = kernels.NONE
            for ids, tokens in self.parts():
                before = kernels.number_by_search(ids, tokens, start, first, token, before)
        return _Level(first, token[:n], count[:n])


def _as_tree(levels: list[_Level], vocab_size: int, start: int | None, scratch: Scratch) -> Counts:
    """Joins the levels into one tree, numbering their nodes through."""
    sizes = [1, *(len(level.token) for level in levels)]
    bounds = np.cumsum([0, *sizes])
    if bounds[-1] >= 1 << 32:
        raise WhenceError(
            f"The text has {bounds[-1]:,} different n-grams, and a tree holds {(1 << 32) - 1:,}: "
            "choose a lower order or a shorter text."
        )
    tree = []
    for field in ("token", "count"):  # one after the other, so that little is there twice
        values = scratch.empty(int(bounds[-1]), np.uint32)
        values[0] = 0
        for level, low, high in zip(levels, bounds[1:], bounds[2:], strict=False):
            values[low:high] = getattr(level, field)
            scratch.free(getattr(level, field))
        tree.append(values)
    first = scratch.empty(int(bounds[-2]) + 1, np.uint32)
    for level, above, low in zip(levels, bounds, bounds[1:], strict=False):
        np.add(level.first, np.uint32(low), out=first[above : low + 1])
        scratch.free(level.first)
    return Counts(len(levels), vocab_size, start, bounds, first, tree[0], tree[1], scratch)
