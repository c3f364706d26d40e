"""The inner loops of asking a back-off table, compiled by numba; import it where it is needed.

A position's context is held as nodes[0 … order − 1]: the node of the last j tokens, or NONE where
the text never had them; `reach` is how many tokens back the context goes.
"""

import numpy as np

from whence.models.compiled import compiled
from whence.models.ngram.counts.counting_kernels import NONE, find


@compiled
def child(first, token, node, wanted):
    """The node of (node, wanted), or NONE."""
    if node == NONE:
        return NONE
    if node == 0:
        return np.uint32(1) + wanted
    place = find(token, np.int64(first[node]), np.int64(first[node + np.uint32(1)]), wanted)
    return NONE if place < 0 else np.uint32(place)


@compiled
def advance(first, token, start, nodes, reach, new):
    """Moves a context on by one token; NONE in place of a token forgets it. Returns the reach."""
    longest = len(nodes) - 1
    if new in (NONE, start):
        nodes[1:] = NONE
        if new == NONE or longest == 0:
            return 0
        nodes[1] = np.uint32(1) + new
        return 1
    for j in range(min(reach, longest - 1), -1, -1):
        nodes[j + 1] = child(first, token, nodes[j], new)
    return min(reach + 1, longest)


@compiled
def contexts(rows, first, token, start, nodes, reach):
    """The context after each token of each row; rows [B, T], nodes [B, T, order]."""
    here = np.empty(nodes.shape[2], np.uint32)
    for b in range(rows.shape[0]):
        here[:] = NONE
        here[0] = 0
        back = 0
        for t in range(rows.shape[1]):
            back = advance(first, token, start, here, back, rows[b, t])
            nodes[b, t] = here
            reach[b, t] = back


@compiled
def score(tokens, first, token, log_prob, log_backoff, start, flat, uniform, nodes, reach, out):
    """Log P of each token given those before it; carries on from nodes and reach."""
    for i in range(len(tokens)):
        new = tokens[i]
        if new == start:
            out[i] = 0.0
        else:
            weight = np.float32(0.0)
            for j in range(reach, -1, -1):
                there = child(first, token, nodes[j], new)
                if there != NONE:
                    weight += log_prob[there]
                    break
                if nodes[j] != NONE:
                    weight += log_backoff[nodes[j]]
                if flat:
                    weight += uniform
                    break
            out[i] = weight
        reach = advance(first, token, start, nodes, reach, new)
    return reach


@compiled
def distributions(nodes, reach, first, token, log_prob, log_backoff, start, flat, uniform, out):
    """Log P of every token after each context; nodes [M, order], out [M, V].

    Shorter contexts write first, longer ones over them: all log-weights are known by then.
    """
    weights = np.empty(nodes.shape[1], np.float32)
    for m in range(len(nodes)):
        shortest = reach[m] if flat else 0
        weight = np.float32(0.0)
        for j in range(reach[m], shortest - 1, -1):
            weights[j] = weight
            if nodes[m, j] != NONE:
                weight += log_backoff[nodes[m, j]]
        out[m] = weight + uniform
        for j in range(shortest, reach[m] + 1):
            node = nodes[m, j]
            if node != NONE:
                for there in range(first[node], first[node + np.uint32(1)]):
                    out[m, token[there]] = log_prob[there] + weights[j]
        if start < out.shape[1]:
            out[m, start] = -np.inf


@compiled
def longest_match(tokens, first, token, count, start, order, matches):
    """matches[k] += 1 for each token whose longest n-gram in the tree has k tokens."""
    nodes = np.empty(order, np.uint32)
    nodes[:] = NONE
    nodes[0] = 0
    reach = 0
    for i in range(len(tokens)):
        if tokens[i] != start:
            for j in range(reach, -1, -1):
                there = child(first, token, nodes[j], tokens[i])
                if there != NONE and count[there] > 0:
                    matches[j + 1] += 1
                    break
        reach = advance(first, token, start, nodes, reach, tokens[i])


@compiled
def leave_one_out(nodes, reach, targets, first, token, adjusted, discounts, unigram, start, out):
    """P of every token after each context, by counts without the event (context → target).

    The longest n-gram loses one; where that was its last, it no longer counts as one of the tokens
    before the next shorter n-gram, which loses one in turn, and so on.
    """
    lost = np.zeros(nodes.shape[1], np.int64)
    uniform = 1.0 / (len(unigram) - 1 if start < len(unigram) else len(unigram))
    for m in range(len(nodes)):
        removing = targets[m] != start
        for j in range(reach[m], -1, -1):
            lost[j] = 0
            there = child(first, token, nodes[m, j], targets[m])
            if removing and there != NONE:
                lost[j] = 1 if adjusted[there] > 0 else 0
                removing = adjusted[there] <= 1
        if lost[0] == 0:
            out[m] = unigram
        for j in range(0 if lost[0] else 1, reach[m] + 1):
            node = nodes[m, j]
            if node == NONE:
                continue
            low, high = first[node], first[node + np.uint32(1)]
            total, taken = 0.0, 0.0
            for there in range(low, high):
                a = np.int64(adjusted[there])
                if token[there] == targets[m]:
                    a -= lost[j]
                total += a
                taken += discounts[j, min(a, 3)]
            if j == 0:
                out[m] = uniform
                if start < len(unigram):
                    out[m, start] = 0.0
            if total == 0.0:
                continue
            out[m] *= taken / total
            for there in range(low, high):
                a = np.int64(adjusted[there])
                if token[there] == targets[m]:
                    a -= lost[j]
                if a > 0:
                    out[m, token[there]] += (a - discounts[j, min(a, 3)]) / total
