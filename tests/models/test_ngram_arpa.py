import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.errors import WhenceError
from whence.models.ngram.arpa import _read, _written, read_arpa, write_arpa
from whence.models.ngram.model import NGram, NGramConfig

LETTERS = ["a", " ", "\n", "\\", "<EOS>", "<UNK>", "é"]

# Written by hand, as another toolkit would: no weights where they are 0, a bigram pruned.
FOREIGN = """\\data\\
ngram 1=4
ngram 2=2
ngram 3=1

\\1-grams:
-99\t<s>\t-0.30103
-0.60206\t</s>
-0.60206\tsun\t-0.1
-0.30103\tmoon

\\2-grams:
-0.2\t<s> sun\t-0.4
-0.5\tsun moon

\\3-grams:
-0.05\t<s> sun moon

\\end\\
"""


def a_model(smoothing, order=3, start=None, seed=0):
    tokens = np.random.default_rng(seed).zipf(1.5, 500) % len(LETTERS)
    return NGram(NGramConfig(order, smoothing, k=0.3), len(LETTERS), start).fit(tokens), tokens


@pytest.mark.parametrize("smoothing", ["mle", "add-k", "kneser-ney"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("start", [None, 0])
def test_there_and_back_again(tmp_path, smoothing, order, start):
    vocabulary = LETTERS if start is None else ["<BOS>", *LETTERS[1:]]
    model, tokens = a_model(smoothing, order, start)
    path = tmp_path / "a model.arpa"
    write_arpa(model, vocabulary, path)
    loaded, names = read_arpa(path)
    assert names == vocabulary
    assert loaded.start == start
    contexts = np.random.default_rng(1).integers(0, len(LETTERS), (200, max(1, order - 1)))
    if start is not None and smoothing == "add-k":
        contexts = contexts[(contexts[:, 1:] != start).all(1)]  # a cut context is a short one
    if start is not None and smoothing == "add-k" and order > 2:
        contexts = contexts[contexts[:, 0] != start]
    np.testing.assert_allclose(
        np.exp(loaded.log_probs(contexts)), np.exp(model.log_probs(contexts)), atol=1e-6
    )
    again, names = read_arpa(path, vocabulary=vocabulary[::-1])
    last = len(LETTERS) - 1
    np.testing.assert_allclose(again.score(last - tokens), loaded.score(tokens), rtol=1e-6)


def test_figures_of_a_foreign_file(tmp_path):
    path = tmp_path / "foreign.arpa"
    path.write_text(FOREIGN, encoding="utf-8")
    model, names = read_arpa(path)
    assert names == ["<BOS>", "<EOS>", "sun", "moon"]
    bos, eos, sun, moon = range(4)
    assert model.start == bos
    scores = model.score(np.array([bos, sun, moon, eos])) / math.log(10)
    np.testing.assert_allclose(scores, [0, -0.2, -0.05, -0.60206], rtol=1e-5)
    scores = model.score(np.array([bos, sun, eos])) / math.log(10)
    np.testing.assert_allclose(scores[2], -0.4 - 0.1 - 0.60206, rtol=1e-5)
    scores = model.score(np.array([moon, sun, moon, moon])) / math.log(10)
    np.testing.assert_allclose(scores, [-0.30103, -0.60206, -0.5, -0.30103], rtol=1e-5)
    with pytest.raises(WhenceError, match="no counts"):
        model.all_log_probs(np.array([sun]), leave_one_out=True)


def test_a_small_file_word_for_word(tmp_path):
    model = NGram(NGramConfig(2, "mle"), 2).fit(np.array([0, 1, 0, 1]))
    write_arpa(model, ["x", "y z"], tmp_path / "m.arpa")
    assert (tmp_path / "m.arpa").read_text(encoding="utf-8").split("\n") == [
        "\\data\\",
        "ngram 1=2",
        "ngram 2=2",
        "",
        "\\1-grams:",
        "-0.30103\tx\t-99",
        "-0.30103\ty\\u0020z\t-99",
        "",
        "\\2-grams:",
        "0\tx y\\u0020z",
        "0\ty\\u0020z x",
        "",
        "\\end\\",
        "",
    ]


@settings(max_examples=200)
@given(st.text(min_size=1))
def test_every_token_survives_being_written(token):
    if token in ("<s>", "</s>", "<unk>"):
        return
    assert len(_written(token).split()) == 1
    assert _read(_written(token)) == token


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("ngram 2=2", "ngram 2=3", "announces"),
        ("\\end\\", "", "end mark is missing"),
        ("-0.5\tsun moon", "-0.5\tsun", "line 14: expected a probability, 2 words"),
        ("-0.5\tsun moon", "half\tsun moon", "line 14: expected"),
        ("<s> sun moon", "moon sun moon", "line 17: the n-gram's context"),
        ("-0.5\tsun moon", "-0.5\tsun mars", "line 14: 'mars' isn't in the vocabulary"),
        ("\\data\\\nngram 1=4\nngram 2=2\nngram 3=1", "", "announces no n-grams"),
    ],
)
def test_a_damaged_file_is_told(tmp_path, before, after, message):
    path = tmp_path / "damaged.arpa"
    path.write_text(FOREIGN.replace(before, after), encoding="utf-8")
    with pytest.raises(WhenceError, match=message):
        read_arpa(path)


def test_other_bad_input(tmp_path):
    model, _ = a_model("mle")
    with pytest.raises(WhenceError, match="one text for each token id"):
        write_arpa(model, LETTERS[1:], tmp_path / "x")
    with pytest.raises(WhenceError, match="isn't there"):
        read_arpa(tmp_path / "nothing.arpa")
    Path(tmp_path / "binary.arpa").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WhenceError, match="UTF-8"):
        read_arpa(tmp_path / "binary.arpa")
