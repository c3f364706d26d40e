"""Pairs: cutting a text into them, batches of them, and the dates made here."""

import datetime

import numpy as np
import pytest
import torch

from whence.data.made.dates import date_pairs, dates
from whence.data.pairs import PairBatches, as_part, check_marks, split_pairs
from whence.data.tokenizers import train_tokenizer
from whence.errors import WhenceError

TEXT = "one\t1\ntwo\t2\n\nthree\t3\n"
TOKENIZER = train_tokenizer("chars", lambda: [TEXT])


def cut(text: str, first=True, last=True) -> list[str]:
    tokens = train_tokenizer("chars", lambda: [text + "\t\n"]).encode(text)
    known = train_tokenizer("chars", lambda: [text + "\t\n"])
    return [
        known.decode(p) for p in split_pairs(tokens, 0, 1, first_is_whole=first, last_is_whole=last)
    ]


def test_lines_become_pairs():
    assert cut(TEXT) == ["one\t1\n", "two\t2\n", "three\t3\n"]
    assert cut("a\tb") == ["a\tb\n"]
    assert cut("b\nc\td\ne\tf\ng", first=False, last=False) == ["c\td\n", "e\tf\n"]
    assert cut("") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\ncd\n", "pair 2 has no tab"),
        ("a\tb\tc\n", "pair 1 has more than one tab"),
        ("a\t\n", "nothing on one side"),
        ("\ta\n", "nothing on one side"),
    ],
)
def test_a_line_that_is_no_pair_is_named(text, words):
    with pytest.raises(WhenceError, match=words):
        cut(text)


def test_only_targets_are_counted():
    pairs = split_pairs(TOKENIZER.encode(TEXT), 0, 1, first_is_whole=True, last_is_whole=True)
    part = as_part(pairs, 0, 1)
    counted = part.targets[2][part.targets[2] >= 0]
    assert TOKENIZER.decode(counted.numpy()) == "3\n"
    assert (part.targets >= 0).sum().item() == 6


def test_batches_are_a_function_of_seed_and_step_and_show_each_pair_once_an_epoch():
    pairs = [np.array([5 + i, 0, 20 + i, 1]) for i in range(10)]
    batches = PairBatches(pairs, 0, 1, batch_size=5, seed=3)
    again = PairBatches(pairs, 0, 1, batch_size=5, seed=3, accumulate=2)
    for step in (7, 0):
        whole, parts = batches[step][0][1], [part for _, part in again[step]]
        assert torch.equal(torch.cat([p.inputs for p in parts]), whole.inputs)
        assert sum(weight for weight, _ in again[step]) == pytest.approx(1)
    seen = sorted(n for step in (2, 3) for n in batches[step][0][1].starts)
    assert seen == list(range(10))


def test_a_tokenizer_with_other_marks_is_told_the_flags():
    with pytest.raises(WhenceError, match=r"--model.separator 9 --model.end 10"):
        check_marks(train_tokenizer("bytes", lambda: [TEXT]), 0, 1)
    with pytest.raises(WhenceError, match="no pairs"):
        check_marks(train_tokenizer("chars", lambda: ["abc"]), 0, 1)


def test_dates_are_right_and_each_comes_once():
    pairs = date_pairs(3000)
    assert len({iso for _, iso in pairs}) == 3000
    for written, iso in pairs:
        date = datetime.date.fromisoformat(iso)
        assert str(date.year) in written
        assert str(date.day) in written
    assert next(dates()).count("\t") == 1
