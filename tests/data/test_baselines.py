"""Floors against plain loops and the standard library's compressors."""

import gzip
import lzma
from collections import Counter
from itertools import pairwise
from math import log2

import pytest

import whence.data.baselines as module
from whence.data.baselines import baselines
from whence.data.texts.cutting import prepare
from whence.data.texts.sources import open_source, text_source
from whence.errors import WhenceError


def dataset_of(text, kind, folder, size=None, validation=0.1):
    return prepare(text_source("made", lambda: [text]), kind, size, validation, folder)


def model(train, size):
    """The bigram of the docstring, token by token."""
    c, pairs = Counter(train), Counter(pairwise(train))
    context, followers = Counter(train[:-1]), Counter(a for a, _ in pairs)
    once = sum(n == 1 for n in pairs.values())
    D = once / (once + 2 * sum(n == 2 for n in pairs.values())) if once else 0.5

    def unigram(b):
        return (c[b] + 1) / (len(train) + size)

    def bigram(a, b):
        if not context[a]:
            return unigram(b)
        known = max(pairs[a, b] - D, 0) / context[a]
        return known + D * followers[a] / context[a] * unigram(b)

    return unigram, bigram


@pytest.mark.parametrize("kind", ["chars", "bytes", "bpe"])
@pytest.mark.parametrize("block", [7, 1 << 22])
def test_counted_floors_are_what_the_formulas_say(kind, block, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ_BLOCK", block)
    text = "".join(open_source("topics").chunks())[:6000] + "字é~`"
    dataset = dataset_of(text, kind, tmp_path, 300 if kind == "bpe" else None)
    train, validation = dataset.train.tolist(), dataset.validation.tolist()
    V, n = dataset.tokenizer.vocab_size, dataset.n_bytes_validation
    unigram, bigram = model(train, V)
    assert sum(unigram(b) for b in range(V)) == pytest.approx(1)
    for a in (train[0], train[5], V - 1):
        assert sum(bigram(a, b) for b in range(V)) == pytest.approx(1)
    found = {baseline.name: baseline.bits_per_byte for baseline in baselines(dataset)}
    pairs = list(zip([train[-1], *validation], validation, strict=False))
    assert found["uniform"] == pytest.approx(len(validation) * log2(V) / n)
    assert found["unigram"] == pytest.approx(-sum(log2(unigram(b)) for b in validation) / n)
    assert found["bigram"] == pytest.approx(-sum(log2(bigram(a, b)) for a, b in pairs) / n)


def test_large_vocabularies_are_counted_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ_BLOCK", 100)
    monkeypatch.setattr(module, "TABLE", 0)
    text = "".join(open_source("topics").chunks())[:40_000]
    dataset = dataset_of(text, "bpe", tmp_path, 1000)
    _, bigram = model(dataset.train.tolist(), dataset.tokenizer.vocab_size)
    validation = dataset.validation.tolist()
    pairs = zip([int(dataset.train[-1]), *validation], validation, strict=False)
    expected = -sum(log2(bigram(a, b)) for a, b in pairs) / dataset.n_bytes_validation
    assert baselines(dataset)[2].bits_per_byte == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["chars", "bpe"])
def test_compressors_see_the_training_text_first(kind, tmp_path):
    text = "".join(open_source("topics").chunks())[:100_000]
    dataset = dataset_of(text, kind, tmp_path, 300 if kind == "bpe" else None)
    head, whole = text[:90_000].encode(), text.encode()
    found = {baseline.name: baseline for baseline in baselines(dataset)}
    zipped = len(gzip.compress(whole, 9)) - len(gzip.compress(head, 9))
    xzipped = len(lzma.compress(whole)) - len(lzma.compress(head))
    n = len(whole) - len(head)
    assert found["gzip"].bits_per_byte == pytest.approx(8 * zipped / n)
    assert found["xz"].bits_per_byte == pytest.approx(8 * xzipped / n)
    assert found["xz"].note == "preset 6 after the training text"


def test_long_texts_are_sampled_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "XZ_TRAIN", 5000)
    monkeypatch.setattr(module, "SAMPLE", 1000)
    text = "".join(open_source("topics").chunks())[:200_000]
    found = {f.name: f for f in baselines(dataset_of(text, "bytes", tmp_path))}
    assert found["xz"].note == (
        "preset 6 after the last 5,000 bytes of the training text; the first 1,000 bytes"
    )
    raw, split = text.encode(), int(0.9 * len(text))
    split = len(text[:split].encode())
    head = raw[split - 5000 : split]
    size = len(lzma.compress(head + raw[split : split + 1000])) - len(lzma.compress(head))
    assert found["xz"].bits_per_byte == pytest.approx(8 * size / 1000)


def test_each_floor_is_lower_than_the_one_before(tmp_path):
    dataset = prepare(open_source("topics"), "chars", None, 0.1, tmp_path)
    uniform, unigram, bigram, zipped, xzipped = (f.bits_per_byte for f in baselines(dataset))
    assert uniform > unigram > bigram > zipped > xzipped > 1


def test_words_that_are_unknown_are_told(tmp_path):
    dataset = dataset_of("a b c d e f g h i j k l", "words", tmp_path, validation=0.3)
    assert "<UNK>" in baselines(dataset)[1].note


@pytest.mark.parametrize(("text", "validation"), [("some text", 0), ("ab", 0.9)])
def test_there_must_be_two_sides(text, validation, tmp_path):
    with pytest.raises(WhenceError, match="nothing to measure the baselines on"):
        baselines(dataset_of(text, "chars", tmp_path, validation=validation))
