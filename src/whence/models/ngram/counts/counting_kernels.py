"""The inner loops of counting, compiled by numba.

Importing this file imports numba (half a second), so callers import it where they count.
Tokens are uint32 throughout, positions without an n-gram hold `NONE`.
"""

import numpy as np

from whence.models.compiled import compiled

NONE = np.uint32(0xFFFFFFFF)


@compiled
def count_pairs(tokens, vocab_size, counts):
    """counts[v·V + w] += 1 for each neighbouring pair (v, w) of `tokens`."""
    size = np.uint64(vocab_size)
    row = np.uint64(tokens[0]) * size
    for i in range(1, len(tokens)):
        token = np.uint64(tokens[i])
        counts[row + token] += np.uint32(1)
        row = token * size


@compiled
def keys_of(contexts, following, vocab_size, start, keys):
    """Writes context·V + token for each position that has both; returns how many it wrote."""
    n = 0
    for i in range(len(contexts)):
        if contexts[i] != NONE and following[i] != start:
            keys[n] = np.int64(contexts[i]) * vocab_size + np.int64(following[i])
            n += 1
    return n


@compiled
def count_cells(contexts, following, vocab_size, start, cells):
    """cells[context·V + token] += 1 for each position that has both."""
    for i in range(len(contexts)):
        if contexts[i] != NONE and following[i] != start:
            cells[np.uint64(contexts[i]) * np.uint64(vocab_size) + np.uint64(following[i])] += (
                np.uint32(1)
            )


@compiled
def pack_cells(cells, vocab_size, first, token, count):
    """Gathers the cells above zero, in order, and leaves each one's rank in its cell."""
    n = 0
    for context in range(len(first) - 1):
        first[context] = n
        for w in range(vocab_size):
            cell = context * vocab_size + w
            if cells[cell]:
                token[n] = w
                count[n] = cells[cell]
                cells[cell] = n
                n += 1
            else:
                cells[cell] = NONE
    first[len(first) - 1] = n


@compiled
def number_by_cells(ids, tokens, vocab_size, start, rank, before):
    """Replaces ids of (k−1)-grams by ids of k-grams; `before` is the id left of this part."""
    for i in range(len(ids)):
        here = ids[i]
        if before == NONE or tokens[i] == start:
            ids[i] = NONE
        else:
            ids[i] = rank[np.uint64(before) * np.uint64(vocab_size) + np.uint64(tokens[i])]
        before = here
    return before


@compiled
def run_lengths(keys, counts):
    """Squeezes sorted `keys` to the distinct ones, in place; returns how many there are."""
    if len(keys) == 0:
        return 0
    n = 0
    counts[0] = 1
    for i in range(1, len(keys)):
        if keys[i] == keys[n]:
            counts[n] += np.uint32(1)
        else:
            n += 1
            keys[n] = keys[i]
            counts[n] = 1
    return n + 1


@compiled
def split_keys(keys, vocab_size, token, degree):
    """Splits each key into its token and one more child of its context (degree[context + 1])."""
    for j in range(len(keys)):
        context = keys[j] // vocab_size
        token[j] = keys[j] - context * vocab_size
        degree[context + 1] += np.uint32(1)


@compiled
def running_sum(values):
    """values[i] becomes values[0] + … + values[i], in place."""
    for i in range(1, len(values)):
        values[i] += values[i - 1]


@compiled
def find(token, low, high, wanted):
    """The place of `wanted` in the sorted token[low:high], or −1."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if token[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    if low < end and token[low] == wanted:
        return low
    return -1


@compiled
def number_by_search(ids, tokens, start, first, token, before):
    """As `number_by_cells`, by binary search among the children of each context."""
    for i in range(len(ids)):
        here = ids[i]
        if before == NONE or tokens[i] == start:
            ids[i] = NONE
        else:
            low, high = np.int64(first[before]), np.int64(first[before + np.uint32(1)])
            ids[i] = np.uint32(find(token, low, high, tokens[i]))
        before = here
    return before
