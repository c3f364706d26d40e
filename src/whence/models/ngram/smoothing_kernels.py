"""The inner loops of smoothing, compiled by numba; import it where it is needed."""

import numpy as np

from whence.models.compiled import compiled


@compiled
def additive(first, count, k, vocab_size, log_prob, log_backoff):
    """P = (count + k) / (total + k·V) for each child of each context.

    A token unseen there has k / (total + k·V), which is 1/V times the weight k·V / (total + k·V).
    """
    for context in range(len(first) - 1):
        low, high = np.int64(first[context]), np.int64(first[context + 1])
        total = k * vocab_size
        for j in range(low, high):
            total += count[j]
        if total == k * vocab_size:  # never followed by anything: says nothing
            log_backoff[context] = 0.0
            for j in range(low, high):
                log_prob[j] = -np.log(vocab_size)
        else:
            log_backoff[context] = np.log(k * vocab_size / total)
            for j in range(low, high):
                log_prob[j] = np.log((count[j] + k) / total)


@compiled
def suffixes(first, token, n_contexts, suffix):
    """Walks the children of a context and of its suffix side by side: both are in order."""
    suffix[0] = 0
    for j in range(first[0], first[1]):
        suffix[j] = 0
    for context in range(1, n_contexts):
        shorter = suffix[context]
        low, end = np.int64(first[shorter]), np.int64(first[shorter + np.uint32(1)])
        for j in range(first[context], first[context + 1]):
            high = end
            while low < high:
                middle = (low + high) >> 1
                if token[middle] < token[j]:
                    low = middle + 1
                else:
                    high = middle
            suffix[j] = np.uint32(low)


@compiled
def continuations(suffix, low, adjusted):
    """Adds 1 to a(g) for each different n-gram that is g with one more token in front."""
    longest = len(adjusted)
    for j in range(low, longest):
        adjusted[suffix[j]] += np.uint32(1)


@compiled
def kneser_ney(bounds, first, adjusted, suffix, discounts, uniform, lower, log_prob, log_backoff):
    """Fills the table from short contexts to long ones; `lower` keeps the shorter ones' P."""
    k = 0  # tokens in the context
    for context in range(len(first) - 1):
        while context >= bounds[k + 1]:
            k += 1
        low, high = np.int64(first[context]), np.int64(first[context + 1])
        total, taken = 0.0, 0.0
        for j in range(low, high):
            a = adjusted[j]
            total += a
            taken += discounts[k, min(a, 3)]
        weight = taken / total if total > 0 else 1.0
        log_backoff[context] = np.log(weight)
        for j in range(low, high):
            a = adjusted[j]
            p = weight * (uniform if k == 0 else lower[suffix[j]])
            if a > 0:
                p += (a - discounts[k, min(a, 3)]) / total
            log_prob[j] = np.log(p)
            if j < len(lower):
                lower[j] = p
