"""A keyed shuffle of range(n) that needs no memory and stays the same for ever.

Library shuffles aren't promised to be stable between versions and need the whole list. Here any
place of the shuffled order is computed alone, from a few lines of integer arithmetic.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np

from whence.errors import WhenceError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ROUNDS = 8


def hash64(*words: int) -> int:
    """Hash integers to 64 bits, the same on every machine and in every version.

    Each word is added and mixed by the finaliser of SplitMix64
    (z ^= z>>30; z *= M1; z ^= z>>27; z *= M2; z ^= z>>31).

    Args:
        words: integers; each is taken modulo 2^64.

    Returns:
        An integer in 0 … 2^64 − 1.

    Example:
        >>> hash64(1, 2) == hash64(1, 2), hash64(1, 2) == hash64(2, 1)
        (True, False)

    Source:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    state = 0
    for word in words:
        z = ((state ^ (word & _MASK)) + _GOLDEN) & _MASK
        z = ((z ^ (z >> 30)) * _M1) & _MASK
        z = ((z ^ (z >> 27)) * _M2) & _MASK
        state = z ^ (z >> 31)
    return state


def permute(indices: np.ndarray | Sequence[int], n: int, *key: int) -> np.ndarray:
    """Say where a keyed permutation of 0 … n−1 sends some indices.

    The number is written as a pair (l, r) in Z_a × Z_b with a·b ≥ n, and eight Feistel half-rounds
    add a keyed hash of one half to the other: l ← (l + F(r)) mod a, r ← (r + F(l)) mod b. Each is
    a bijection, so their chain is one. a·b exceeds n by less than √n + 1; the few results ≥ n walk
    on along their cycle until they fall below n.

    Args:
        indices: integers in 0 … n−1, any shape.
        n: size of the range.
        key: integers that select the permutation, such as (seed, epoch).

    Returns:
        int64 array of the shape of `indices`, with values in 0 … n−1.

    Raises:
        WhenceError: an index is outside 0 … n−1.

    Example:
        >>> sorted(permute(range(5), 5, 7).tolist())
        [0, 1, 2, 3, 4]

    Source:
        Luby and Rackoff, "How to construct pseudorandom permutations", 1988; Black and Rogaway,
        "Ciphers with arbitrary finite domains", 2002 (cycle walking).
    """
    start = np.asarray(indices, dtype=np.int64)
    if start.size and not (start.min() >= 0 and start.max() < n):
        raise WhenceError(f"An index to shuffle is outside 0 … {n - 1}.")
    a = isqrt(n - 1) + 1 if n > 1 else 1
    b = -(-n // a)
    keys = [np.uint64(hash64(*key, number)) for number in range(ROUNDS)]
    place = _rounds(start.astype(np.uint64).ravel(), a, b, keys)
    outside = np.flatnonzero(place >= n)
    while outside.size:
        place[outside] = _rounds(place[outside], a, b, keys)
        outside = outside[place[outside] >= n]
    return place.astype(np.int64).reshape(start.shape)


def _rounds(place: np.ndarray, a: int, b: int, keys: list[np.uint64]) -> np.ndarray:
    size_l, size_r = np.uint64(a), np.uint64(b)
    left, right = np.divmod(place, size_r)
    for key_l, key_r in zip(keys[::2], keys[1::2], strict=True):
        left = (left + _mix(right ^ key_l) % size_l) % size_l
        right = (right + _mix(left ^ key_r) % size_r) % size_r
    return left * size_r + right


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_M1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_M2)
    return z ^ (z >> np.uint64(31))
