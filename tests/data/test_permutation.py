"""The keyed permutation: a bijection, well mixed, and the same for ever."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.data.permutation import hash64, permute
from whence.errors import WhenceError


@given(n=st.integers(1, 3000), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 10**9))
def test_every_index_is_taken_once(n, seed, epoch):
    assert sorted(permute(np.arange(n), n, seed, epoch).tolist()) == list(range(n))


@given(n=st.integers(2, 2**62), data=st.data())
def test_large_ranges_stay_in_range_and_apart(n, data):
    indices = data.draw(st.lists(st.integers(0, n - 1), unique=True, min_size=1, max_size=20))
    places = permute(indices, n, 5)
    assert len(set(places.tolist())) == len(indices)
    assert places.min() >= 0
    assert places.max() < n


def test_values_never_change():
    # Written down when the permutation was made. A change here breaks the replay of every run.
    assert hash64(0) == 16294208416658607535  # SplitMix64's first output for seed 0
    assert hash64(1, 2, 3) == 15020427595393229491
    assert permute(range(10), 10, 0, 0).tolist() == [9, 6, 3, 7, 2, 0, 5, 4, 8, 1]
    assert permute([0, 1, 2, 999_999], 1_000_000, 1337, 4).tolist() == [
        877108,
        655698,
        38261,
        887241,
    ]


def test_a_place_does_not_depend_on_its_company():
    whole = permute(np.arange(1000), 1000, 3)
    for index in (0, 17, 999):
        assert permute([index], 1000, 3)[0] == whole[index]
    assert np.array_equal(permute(np.arange(1000).reshape(10, 100), 1000, 3).ravel(), whole)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_small_permutations_are_equally_frequent(n):
    draws = 240 * len(list(itertools.permutations(range(n))))
    counts = Counter(tuple(permute(range(n), n, seed).tolist()) for seed in range(draws))
    assert len(counts) == len(list(itertools.permutations(range(n))))
    chi2 = sum((count - 240) ** 2 / 240 for count in counts.values())
    assert chi2 < 3 * len(counts) + 15


def test_order_epochs_and_seeds_are_unrelated():
    n = 1000
    rows = np.stack([permute(np.arange(n), n, seed, epoch) for seed in (0, 1) for epoch in (0, 1)])
    assert np.abs(np.corrcoef([np.arange(n), *rows]) - np.eye(5)).max() < 0.13  # 4 σ
    fixed = np.mean([(permute(np.arange(n), n, s) == np.arange(n)).sum() for s in range(300)])
    assert 0.75 < fixed < 1.25  # 1 is expected
    neighbours = np.abs(np.diff(rows, axis=1)).mean()
    assert abs(neighbours - n / 3) < 15


@pytest.mark.parametrize("index", [-1, 5])
def test_outside_is_an_error(index):
    with pytest.raises(WhenceError, match="outside 0 … 4"):
        permute([index], 5, 0)
