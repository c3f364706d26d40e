import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.errors import WhenceError
from whence.models.ngram.counts import counting
from whence.models.ngram.counts.counting import count_bigrams, count_ngrams
from whence.models.ngram.counts.scratch import Scratch
from whence.models.ngram.counts.spill import Runs
from whence.models.ngram.model import NGram, NGramConfig


def counted_by_hand(tokens, order, start):
    """Every n-gram with its count, cut at start marks, by a dictionary."""
    counts = Counter()
    for k in range(1, order + 1):
        for i in range(len(tokens) - k + 1):
            ngram = tuple(tokens[i : i + k])
            if start is None or (ngram[-1] != start and start not in ngram[1:]):
                counts[ngram] += 1
    return counts


def as_dict(counts):
    found, stack = {}, [(0, ())]
    while stack:
        node, ngram = stack.pop()
        if counts.count[node]:
            found[ngram] = int(counts.count[node])
        if len(ngram) < counts.order:
            children = range(counts.first[node], counts.first[node + 1])
            stack += [(child, (*ngram, int(counts.token[child]))) for child in children]
    return found


@settings(max_examples=150, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    order=st.integers(1, 6),
    start=st.sampled_from([None, 0, 3]),
    way=st.sampled_from(["cells", "sorting", "spilled"]),
)
def test_every_way_of_counting_agrees_with_a_dictionary(tokens, order, start, way):
    with pytest.MonkeyPatch.context() as patch:
        if way != "cells":
            patch.setattr(counting._Counter, "next_level", counting._Counter._by_sorting)
        if way == "spilled":
            make = counting._Counter.__init__

            def in_tiny_parts(self, *arguments):
                make(self, *arguments)
                self.part_size, self.scratch.limit = 7, 0

            patch.setattr(counting._Counter, "__init__", in_tiny_parts)
        counts = count_ngrams(np.array(tokens), order, vocab_size=6, start=start)
    assert as_dict(counts) == counted_by_hand(tokens, order, start)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_bigrams_agree_with_bincount(dtype):
    tokens = np.random.default_rng(0).integers(0, 65, 10_000).astype(dtype)
    pairs = tokens[:-1].astype(np.int64) * 65 + tokens[1:]
    expected = np.bincount(pairs, minlength=65 * 65).reshape(65, 65)
    np.testing.assert_array_equal(count_bigrams(tokens, 65), expected)


def test_a_text_above_the_memory_limit_is_counted_within_it(tmp_path):
    rng = np.random.default_rng(1)
    tokens = np.memmap(tmp_path / "a b.bin", dtype=np.uint16, mode="w+", shape=1_500_000)
    tokens[:] = np.minimum(rng.zipf(1.3, len(tokens)), 30_000) - 1
    folder = tmp_path / "scratch"
    folder.mkdir()
    config = NGramConfig(order=3, memory_mb=5)
    NGram(config, 30_000).fit(tokens[:1000])  # compiles, so that only arrays are measured
    tracemalloc.start()
    model = NGram(config, 30_000).fit(tokens, folder=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    counts = model.counts
    assert counts.count.nbytes + counts.token.nbytes > 5 << 20  # the counts alone wouldn't fit
    assert peak <= 5 << 20
    free = NGram(NGramConfig(order=3), 30_000).fit(tokens)
    for name, values in free.state().items():
        np.testing.assert_array_equal(model.state()[name], values)
    assert list(folder.iterdir())
    del counts, model
    assert not list(folder.iterdir())


def test_merging_runs_adds_up_equal_keys():
    rng = np.random.default_rng(2)
    runs, expected = Runs(Scratch(limit=0), in_memory=False), Counter()
    for _ in range(9):
        keys, counts = np.unique(rng.integers(0, 1 << 40, 50) % 97, return_counts=True)
        runs.add(keys, counts.astype(np.uint32))
        expected.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
    parts = list(runs.merged(block=20))
    keys = np.concatenate([keys for keys, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    assert len(parts) > 5
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == expected
    assert (np.diff(keys) > 0).all()
    assert runs.scratch.files == []


def test_a_full_disk_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(WhenceError, match=r"disk in .*TMPDIR"):
        Scratch(limit=0, parent=tmp_path).empty(100, np.uint32)


@pytest.mark.parametrize(
    ("tokens", "order", "message"),
    [
        (np.array([], np.int64), 2, "no tokens"),
        (np.array([0, 7]), 2, "Token id 7 is outside the vocabulary of 5"),
        (np.array([0, -1]), 2, "Token id -1"),
        (np.array([[0, 1]]), 2, "one row of"),
        (np.array([0.5]), 2, "one row of integers"),
        (np.array([0, 1]), 0, "at least 1"),
    ],
)
def test_bad_input_is_one_sentence(tokens, order, message):
    with pytest.raises(WhenceError, match=message):
        count_ngrams(tokens, order, vocab_size=5)


def test_bigrams_of_a_large_vocabulary_are_refused():
    with pytest.raises(WhenceError, match="use count_ngrams"):
        count_bigrams(np.array([0, 1]), 1 << 20)


def test_loops_compile_where_no_folder_can_keep_the_machine_code(monkeypatch):
    from whence.models import compiled

    real = compiled.numba.njit

    def read_only(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiled.numba, "njit", read_only)
    doubled = compiled.compiled(lambda x: 2 * x)
    assert doubled(21) == 42
