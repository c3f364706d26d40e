"""Each concluding sentence is chosen by the numbers it stands on: numbers that force each form."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from whence.data.table import table_of
from whence.errors import WhenceError
from whence.experiments.common import (
    AMOUNT,
    COSINE,
    DIFFERENCE,
    SHARE,
    Interval,
    apart,
    mean_interval,
    share_interval,
    student,
)
from whence.experiments.inside import induction, memory, order, parts
from whence.experiments.text import counted, first, smoothing, texts
from whence.experiments.text.words import it_conclusion, senses_conclusion
from whence.experiments.training import adam, power_law, scaling
from whence.models.small.line import COFFEE_SHOP, least_squares, mean_squared_error
from whence.play.line_rates import judged, losses_at


def sure(mean: float, half: float = 0.01) -> Interval:
    return Interval(mean, mean - half, mean + half)


SINGLE = mean_interval([0.99], SHARE)  # one run settles nothing


# --- intervals -----------------------------------------------------------------------------------


@given(
    st.sampled_from([SHARE, COSINE, AMOUNT]),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_no_interval_reaches_outside_of_what_can_be(bounds, values):
    found = mean_interval(values, bounds)
    assert bounds[0] <= found.low <= found.high <= bounds[1]
    assert found.low <= found.mean + 1e-12
    assert found.high >= found.mean - 1e-12


@given(st.integers(0, 60), st.integers(0, 60))
def test_nor_does_that_of_a_share(hits, misses):
    found = share_interval(hits, hits + misses or 1)
    assert 0 <= found.low <= found.high <= 1
    assert found.low - 1e-12 <= found.mean <= found.high + 1e-12


def test_the_intervals_of_the_report_that_were_impossible():
    assert mean_interval([0.99, 1.0, 0.97, 1.0], COSINE).high == 1.0
    assert mean_interval([0, 1, 400], AMOUNT).low == 0.0


def test_paired_runs_are_compared_run_by_run():
    a, b = [1.0, 5.0, 9.0], [0.9, 4.88, 8.89]
    assert apart(a, b) > 0  # although the runs differ far more than the models
    assert not mean_interval(a, DIFFERENCE) > mean_interval(b, DIFFERENCE).mean
    assert not apart([1.0], [0.0]) > 0


# --- each experiment -----------------------------------------------------------------------------


def test_bigram():
    def said(gap, away):
        plain = {"learned": 1.0 + gap, "counted": 1.0, "largest_difference": 0.0}
        return counted.conclusion(
            {"maximum likelihood": plain, "add-one": {"largest_difference": away}}, 400
        )

    assert "reaches the closed form" in said(1e-4, 1e-3)
    assert "ends at the add-one counts" in said(1e-4, 1e-3)
    assert "has not reached the closed form" in said(0.2, 1e-3)
    assert "still differs by 0.3000" in said(1e-4, 0.3)


@pytest.mark.parametrize(
    ("order_gap", "method_gap", "said"),
    [
        (sure(0.8), sure(2.0), ["trigram is worse", "Smoothing matters more"]),
        (sure(0.8), sure(0.1), ["trigram is worse", "Order matters more"]),
        (sure(-0.5), sure(0.1), ["trigram is better", "Order matters more"]),
        (sure(-0.5), sure(2.0), ["trigram is better", "Smoothing matters more"]),
        (sure(0.0, 0.2), sure(0.1, 0.3), ["leaves open", "doesn't settle"]),
        (sure(0.8), sure(0.8), ["trigram is worse", "doesn't settle"]),
    ],
)
def test_smoothing(order_gap, method_gap, said):
    text = smoothing.conclusion([9, 5, 7, 8], [9, 4, 3, 3], 100, order_gap, method_gap)
    assert all(part in text for part in said)


def test_smoothing_over_stretches_of_text():
    gap = smoothing.over_blocks(np.full(400, 0.3) + 0.01 * np.sin(np.arange(400)))
    assert gap > 0.29
    assert gap < 0.31


@pytest.mark.parametrize(
    ("blind", "told", "back", "said"),
    [
        (sure(0.5), sure(0.95), sure(0.93), ["which is chance", "tells order by itself"]),
        (sure(0.7), sure(0.95), sure(0.93), ["better than chance"]),
        (sure(0.6, 0.3), sure(0.95), sure(0.93), ["can't tell from chance"]),
        (sure(0.5), sure(0.95), sure(0.51, 0.05), ["is undecided: 0.51"]),
        (sure(0.51), sure(0.51), sure(0.51), ["Undecided: with positions"]),
        (sure(0.5), SINGLE, sure(0.93), ["Undecided: with positions"]),
    ],
)
def test_order(blind, told, back, said):
    text = order.conclusion(blind, told, back, 3)
    assert all(part in text for part in said)
    if "Undecided" in text:
        assert "by itself" not in text


def test_first():
    words = ["we", "love", "deep"]
    even = [10, 10, 10]
    assert "Undecided: in a, b" in first.conclusion(words, {"a": even, "b": even})
    assert "All models agree" in first.conclusion(words, {"a": [29, 1, 0], "b": [28, 1, 1]})
    depends = first.conclusion(words, {"a": [29, 1, 0], "b": [0, 1, 29], "c": even})
    assert "is a law" in depends
    assert "Undecided: in b" in first.conclusion(words, {"a": [29, 1, 0], "b": even})
    assert "none in any run" in first.conclusion(words, {"a": [0, 0, 0], "b": even})
    assert "one word has no order" in first.conclusion(["we"], {"a": [30]})


def test_a_word_that_stands_twice_is_two_words():
    data = first.first(range(2), "the cat the")
    assert all(len(row) == 3 for row in data.data["scalars"]["learned_at"])
    assert {row[1] for row in data.rows} == {"the (1)", "cat", "the (3)"}


def test_induction():
    def said(one, two):
        return induction.conclusion({1: one, 2: two}, sure(0.9), 800)

    never, late = [None] * 3, [150, 200, 175]
    assert "Undecided: two layers didn't learn" in said(never, never)
    assert "is what it takes" in said(never, late)
    assert "step 150 to 200" in said(never, late)
    assert "only have read the answer" in said(never, late)
    assert "can't tell from chance" in said([None, None, 300], late)
    assert "isn't needed here" in said(late, late)
    assert "can't tell from chance" in said([None] * 2, [100] * 2)
    assert "one layer does in 1 of 8. " in said([150] + [None] * 7, [150] * 8)
    assert "that head says nothing" in said(never, [None, 100, None])
    assert "is what it takes" not in said([None], [100])


@pytest.mark.parametrize(("more", "less", "n"), [(3, 0, 3), (2, 0, 2), (4, 1, 4), (8, 1, 8)])
def test_a_difference_by_chance_is_fishers(more, less, n):
    stats = pytest.importorskip("scipy.stats")
    table = [[more, n - more], [less, n - less]]
    exact = stats.fisher_exact(table, alternative="greater").pvalue
    assert induction.by_chance(more, less, n) == pytest.approx(exact)


@pytest.mark.parametrize("degrees", [1, 2, 5, 12, 1000])
def test_the_points_of_student_are_scipys(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.02)


def test_a_rate_that_moves_nothing_crawls_and_one_at_the_edge_swings():
    table = table_of(*COFFEE_SHOP)
    best = mean_squared_error(least_squares(table.rows, table.targets), table.rows, table.targets)
    for rate, said in ((1e-9, "crawls"), (1.0, "swings"), (0.3, "arrived")):
        losses = losses_at(table, rate, 60)
        assert judged(table, rate, losses, best) == said


def test_memory():
    def said(learned, close, far):
        return memory.conclusion("rnn", learned, close, far, 1500)

    yes, near = [100] * 4, [1.0, 0.99, 1.0, 1.0]
    assert "undecided, 1 of 4 runs didn't learn" in said([100, None, 90, 80], near, [0.1] * 4)
    assert "forgets" in said(yes, near, [0.1, 0.12, 0.13, 0.14])
    assert "which is chance" in said(yes, near, [0.1, 0.12, 0.13, 0.14])
    assert "rnn: fades" in said(yes, near, [0.5, 0.6, 0.7, 0.5])
    assert "keeps it" in said(yes, near, [1.0, 0.99, 1.0, 1.0])
    assert "undecided" in said(yes, near, [1.0, 0.2, 1.0, 0.9])
    assert "undecided" in said([100], [1.0], [0.1])


def test_it():
    def said(right, quality, animal, itself=0.1):
        looks = {
            "the animal": [animal, animal - 0.01, animal],
            "the quality": [quality, quality + 0.01, quality],
            "itself": [itself, itself, itself],
        }
        return it_conclusion(right, looks)

    assert "Undecided: it names the right word in 0.05" in said(sure(0.05), 0.9, 0.3)
    assert "says which of the two" not in said(sure(0.05), 0.9, 0.3)
    assert "looks at the quality, which says which" in said(sure(0.99), 0.9, 0.3)
    assert "looks at the animal, which alone doesn't" in said(sure(0.99), 0.3, 0.9)
    assert "fetched by others" in said(sure(0.99), 0.3, 0.2, 0.9)
    assert "these runs leave open" in said(sure(0.99), 0.5, 0.505)
    single = {"the animal": [0.2], "the quality": [0.9], "itself": [0.1]}
    assert "these runs leave open" in it_conclusion(SINGLE, single)


def test_senses():
    close = [0.9, 0.91, 0.92, 0.9]
    assert "do get vectors" in senses_conclusion(close, [0.1, 0.2, 0.1, 0.15], sure(0.99))
    assert "It depends on the run: 2 of 4" in senses_conclusion(
        close, [0.84, 0.79, 0.85, 0.78], sure(0.99)
    )
    assert senses_conclusion([0.1, 0.2, 0.1, 0.15], close, sure(0.99)).startswith("No:")
    assert senses_conclusion(close, [0.8, 0.99, 0.95, 0.85], sure(0.99)).startswith("Undecided")
    assert "hasn't learned to read" in senses_conclusion(close, [0.1] * 4, sure(0.3))


def test_texts():
    assert "prejudices included" in texts.conclusion(0.02, 200)
    assert "Undecided: after 3 steps" in texts.conclusion(0.5, 3)


def test_parts():
    flow = dict.fromkeys(("whole", "no residual", "neither residual nor norm"), (1.0, 2.0))

    def said(whole=2.0, **costs):
        names = ("one_head", "no_attention", "no_residual", "no_norm")
        given = {n.replace("_", " "): costs.get(n, sure(0.0, 0.2)) for n in names}
        return parts.conclusion({"whole": sure(0.0, 0.0), **given}, flow, whole, math.log(80))

    assert "more than any other here" in said(no_residual=sure(1.0))
    leaves = said(no_residual=sure(1.0), no_attention=sure(0.9, 0.5))
    assert "leave open whether any costs more" in leaves
    assert "Undecided: these runs can't tell" in said()
    assert "no difference that these runs show" in said()
    assert "no difference" not in said(one_head=sure(0.3))
    assert "learned next to nothing" in said(whole=4.3)


def test_adam():
    ahead, behind, open_ = sure(0.3), sure(-0.3), sure(0.0, 0.2)
    assert "Adam ends lower than SGD" in adam.valley_conclusion("a valley", ahead)
    assert "SGD ends lower than Adam" in adam.valley_conclusion("a valley", behind)
    assert "leave open" in adam.valley_conclusion("a valley", open_)
    said = adam.gpt_conclusion
    assert "ahead of SGD by 0.300 nats, each at its best rate, and of momentum" in said(
        ahead, ahead, 680
    )
    assert "but behind momentum by 0.300" in said(ahead, behind, 680)
    assert "momentum closes the gap" in said(ahead, open_, 680)
    assert "SGD is ahead of Adam" in said(behind, behind, 680)
    assert said(open_, ahead, 680).startswith("Undecided")
    assert "680-fold" in said(open_, ahead, 680)
    assert adam.edges_conclusion([]) == []
    assert "SGD in the GPT lies at the edge" in adam.edges_conclusion(["SGD in the GPT"])[0]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_walk_through_the_valley_is_torchs(kind):
    import torch

    end, path = adam.walk(adam.Valley(), adam.OPTIMIZERS[kind](0.015), seed=1)
    u, v = (torch.tensor(x, requires_grad=True) for x in path[0])
    oracle = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[kind]([u, v], lr=0.015)
    for _ in range(adam.WALK):
        oracle.zero_grad()
        ((u**2 + 100 * v**2) / 2).backward()
        oracle.step()
    assert path[-1] == pytest.approx([u.item(), v.item()], abs=1e-4)
    assert end == pytest.approx(((u**2 + 100 * v**2) / 2).item(), rel=1e-3, abs=1e-5)


def law_of(by_size, by_data, noise=0.0):
    """Losses by a law, with as much noise, fitted."""
    rng = np.random.default_rng(3)
    return power_law.fit(
        [
            (n, d, 1.2 + by_size * n**-0.4 + by_data * d**-0.5 + noise * rng.normal())
            for n in (3e3, 8e3, 2e4, 5e4, 1.2e5)
            for d in (8e4, 1.6e5, 3.2e5)
            for _ in range(2)
        ]
    )


def test_scaling():
    both = law_of(30, 90)
    assert "N^−0.40" in scaling.size_conclusion(both)
    assert "D^−0.50" in scaling.data_conclusion(both)
    assert "C^0.56" in scaling.data_conclusion(both)
    vague = law_of(0.1, 0.3, noise=0.05)
    assert "undecided" in scaling.size_conclusion(vague)
    assert "undecided" in scaling.data_conclusion(vague)
    zeros = np.zeros(9)
    flat = power_law.PowerLaw(zeros + 1, zeros, zeros + 0.4, zeros, zeros + 0.5, zeros)
    assert "don't lower" in scaling.size_conclusion(flat)
    assert "don't lower" in scaling.data_conclusion(flat)
    said = scaling.test_conclusion
    assert "as predicted" in said((2.0, 1.9, 2.1), [1.95, 2.05], 100)
    assert "1 of 2 runs as predicted" in said((2.0, 1.9, 2.1), [1.95, 2.5], 100)
    assert "2.500, higher" in said((2.0, 1.9, 2.1), [2.5], 100)
    assert "1.500, lower" in said((2.0, 1.9, 2.1), [1.5], 100)


def test_no_law_is_fitted_to_what_is_not_finite():
    with pytest.raises(WhenceError, match="no law can be fitted"):
        power_law.fit([(1e3, 1e4, 2.0), (1e4, 1e4, math.nan)])


def test_the_law_is_scipys():
    rng = np.random.default_rng(5)
    n, d = (a.ravel() for a in np.meshgrid([3e3, 1e4, 3e4, 1e5], [1e5, 2e5, 4e5]))
    losses = 1.1 + 25 * n**-0.35 + 60 * d**-0.45 + 0.005 * rng.normal(size=n.size)
    found = power_law.fit(list(zip(n, d, losses, strict=True)))

    def formula(x, floor, a, alpha, b, beta):
        return floor + a * x[0] ** -alpha + b * x[1] ** -beta

    theirs, _ = curve_fit(formula, (n, d), losses, p0=(1, 20, 0.4, 50, 0.4), maxfev=100_000)
    for size, tokens in ((2e5, 4e5), (1e5, 1e5)):
        predicted = formula((size, tokens), *theirs)
        middle, low, high = found.prediction(size, tokens)
        assert middle == pytest.approx(predicted, abs=0.01)
        assert low < predicted < high
