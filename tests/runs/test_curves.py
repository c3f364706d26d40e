"""Columns that keep up with a record, and the points that draw them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.runs.tiny import abandon, finish, make
from whence.errors import WhenceError
from whence.runs.questions.growth import growth
from whence.runs.store.records.curves import Curves, thin


@given(
    hnp.arrays(np.float64, st.integers(0, 500), elements=st.floats(width=32)), st.integers(1, 60)
)
def test_thin_loses_no_peak(values, buckets):
    at = thin(values, buckets)
    assert (np.diff(at) > 0).all()
    finite = values[np.isfinite(values)]
    shown = values[at]
    assert np.isfinite(shown).sum() <= 2 * buckets + 2 or len(values) <= 2 * buckets
    if len(values):
        assert {0, len(values) - 1} <= set(at.tolist())
        assert (~np.isfinite(shown)).sum() == (~np.isfinite(values)).sum()
    if len(finite):
        good = shown[np.isfinite(shown)]
        assert (good.min(), good.max()) == (finite.min(), finite.max())


def test_each_bucket_keeps_its_extremes():
    values = np.random.default_rng(0).standard_normal(1000)
    at = set(thin(values, 10).tolist())
    for bucket in np.arange(1000).reshape(10, 100):
        assert bucket[values[bucket].argmin()] in at
        assert bucket[values[bucket].argmax()] in at


def test_curves_keep_up(tmp_path):
    run = make(tmp_path / "run")
    curves = Curves(run.path)
    abandon(run, 7)
    assert curves.refresh()
    assert curves.n_steps == 7
    finish(run)
    assert curves.refresh()
    assert not curves.refresh()
    assert curves["loss"].tolist() == [r["loss"] for r in run.steps]
    assert curves["tokens"].tolist() == [64] * 20
    # Measurements behind the checkpoint were made again, and each stands here once.
    assert curves.evals == run.evals
    assert curves.samples == run.samples
    assert curves.seconds_left(20) == 0
    assert curves.best() == min((e for e in run.evals if not e["whole"]), key=lambda e: e["loss"])


def test_a_torn_line_is_waited_for(own):
    path = own.path / "steps.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    curves = Curves(own.path)
    assert curves.n_steps == 19
    with path.open("ab") as file:
        file.write(whole[-20:])
    assert curves.refresh()
    assert curves.n_steps == 20


def test_damage_is_told_and_what_stands_before_it_is_here(own):
    path = own.path / "steps.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[8] = lines[8].replace(b"loss", b"lost")
    path.write_bytes(b"".join(lines))
    curves = Curves(own.path)
    assert curves.n_steps == 7
    assert "line 9" in str(curves.damage)


def test_a_run_that_was_made_anew(own, tmp_path):
    curves = Curves(own.path)
    own.remove()
    curves.refresh()
    assert curves.n_steps == 0


def test_growth_is_the_models_probability(whole):
    found = growth(whole, "9 beer")
    assert found.steps == [0, 5, 10, 15, 20]
    ids = [int(i) for i in whole.tokenizer.encode("9 beer")]
    line_break = [int(i) for i in whole.tokenizer.encode("\n")]
    for step, row in zip(found.steps[1:], found.probabilities[1:], strict=True):
        for i, p in enumerate(row):  # each after the text before it, the first after a line break
            logits = whole.model(step)(torch.tensor([ids[:i] or line_break]))[0, -1].double()
            want = -torch.nn.functional.cross_entropy(logits, torch.tensor(ids[i]))
            assert p == pytest.approx(want.exp().item(), rel=1e-5)
    # The first weights guess evenly, but for a head of zeros rounding nothing else.
    assert found.probabilities[0].tolist() == pytest.approx([1 / whole.tokenizer.vocab_size] * 6)


def test_growth_of_a_long_text_says_what_it_leaves_out(whole):
    found = growth(whole, "99 bottles of beer on the wall")
    assert len(found.tokens) == 17  # what the window holds, and what comes after it
    assert found.left_out == 30 - 17


@pytest.mark.parametrize("text", ["", "\u20ac"])
def test_growth_refuses(whole, text):
    with pytest.raises(WhenceError):
        growth(whole, text)
