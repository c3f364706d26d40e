"""Filters against transformers' logits warpers; the table of candidates; draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from whence.errors import WhenceError
from whence.generate import Distribution, Sampling, filter_logits
from whence.generate.sampling import keep_top_p, pick


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 10_000),
    st.floats(0.1, 3),
    st.none() | st.integers(1, 60),
    st.none() | st.floats(0.05, 0.99),
    st.none() | st.floats(0.01, 0.9),
)
def test_filters_are_transformers(seed, temperature, k, p, min_p):
    logits = 3 * torch.randn(2, 40, generator=torch.Generator().manual_seed(seed))
    want = TemperatureLogitsWarper(temperature)(None, logits)
    if k is not None:
        want = TopKLogitsWarper(k)(None, want)
    if p is not None:
        want = TopPLogitsWarper(p)(None, want)
    if min_p is not None:
        want = MinPLogitsWarper(min_p)(None, want)
    got = filter_logits(logits, Sampling(temperature, k, p, min_p))
    assert torch.equal(got, want)


def test_table_of_the_worked_sentence():
    logits = torch.tensor([2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10.0])
    table = Distribution.of(logits, Sampling(top_k=4, top_p=0.9), drawn=0).top(8)
    assert [c.token_id for c in table] == [4, 5, 0, 6, 1, 2, 3, 7]
    by_id = {c.token_id: c for c in table}
    assert by_id[0].before == pytest.approx(0.149377, abs=1e-6)
    assert by_id[0].drawn
    assert by_id[0].exp == pytest.approx(2.718281828 ** (2.1 - 3.2), rel=1e-6)
    assert by_id[6].dropped_by == "top_p"
    assert by_id[1].dropped_by == "top_k"
    assert sum(c.after for c in table) == pytest.approx(1)
    assert by_id[6].after == 0
    kept = [by_id[i].before for i in (0, 4, 5)]
    assert by_id[0].after == pytest.approx(kept[0] / sum(kept))


def test_the_drawn_token_is_always_in_the_table():
    table = Distribution.of(torch.tensor([3.0, 2.0, 1.0]), Sampling(2.0), drawn=2).top(1)
    assert [(c.token_id, c.drawn, c.scaled) for c in table] == [(0, False, 1.5), (2, True, 0.5)]


def test_greedy():
    logits = torch.tensor([[1.0, 5.0, 5.0, 0.0]])
    greedy = Sampling(temperature=0)
    generator = torch.Generator().manual_seed(0)
    assert pick(filter_logits(logits, greedy), greedy, generator).item() == 1
    table = Distribution.of(logits[0], greedy, drawn=1).top(4)
    assert [c.after for c in table] == [1, 0, 0, 0]
    assert table[1].dropped_by == "temperature"
    assert table[0].before == pytest.approx(table[1].before)


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.5, 0.3, 0.2])
    rows, sampling = probabilities.log().expand(20_000, 3), Sampling()
    drawn = pick(filter_logits(rows, sampling), sampling, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.bincount() / 20_000, probabilities, atol=0.015, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.5},
    ],
)
def test_settings_out_of_range(settings):
    (name,) = settings
    with pytest.raises(WhenceError, match=name):
        Sampling(**settings)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7}, {"top_k": 4}, {"top_p": 0.8}])
def test_samples_of_a_model_agree_with_the_printed_probabilities(settings):
    """χ² of 2,000 samples against the table that is printed for their first token."""
    from scipy.stats import chisquare

    from whence.data.tokenizers.chars import CharTokenizer
    from whence.generate import stream
    from whence.models import GPTConfig, build

    torch.manual_seed(5)
    tokenizer = CharTokenizer("abcdefgh")
    model = build(GPTConfig(n_layers=1, d_model=16, zero_head=False, init_std=0.5), 8)
    events = stream(
        model, tokenizer, "a", max_tokens=1, n_samples=2000, show_distributions=True, **settings
    )
    drawn = [e for e in events if e.distribution is not None]
    table = {c.token_id: c.after for c in drawn[0].distribution.top(8)}
    counts = torch.bincount(torch.tensor([e.token_id for e in drawn]), minlength=8).tolist()
    kept = [i for i, p in table.items() if p > 0]
    assert sum(counts[i] for i in kept) == 2000  # what was dropped is never drawn
    expected = [2000 * table[i] for i in kept]
    scale = 2000 / sum(expected)
    found = chisquare([counts[i] for i in kept], [x * scale for x in expected])
    assert found.pvalue > 0.001


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 30.0])
def test_top_p_of_a_large_vocabulary_sorts_no_more_than_it_must(p, spread):
    """Two rows are sorted whole; one by itself keeps the same, ties and −∞ included."""
    torch.manual_seed(0)
    logits = (spread * torch.randn(2, 3000)).round(decimals=1)
    logits[:, ::7] = -math.inf
    want = keep_top_p(logits, p)
    for row in range(2):
        assert torch.equal(keep_top_p(logits[row], p), want[row])
        assert torch.equal(keep_top_p(logits[row : row + 1], p), want[row : row + 1])
