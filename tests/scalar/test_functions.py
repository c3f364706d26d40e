"""Losses, softmax, optimizers and matrices against torch, and the figures of the notes."""

import math

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from whence.errors import WhenceError
from whence.scalar import (
    SGD,
    Adam,
    Matrix,
    Value,
    binary_cross_entropy,
    cross_entropy,
    dot,
    maximum,
    mean,
    minimum,
    mse,
    nll,
    pick,
    softmax,
    total,
)

rows = st.lists(st.floats(-30, 30), min_size=2, max_size=12)


def close(ours, theirs):
    assert ours == pytest.approx(theirs, rel=1e-11, abs=1e-12)


def both(numbers):
    t = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    return [Value(x) for x in numbers], t


@given(rows, st.integers(0))
def test_cross_entropy_equals_torch(numbers, target):
    target %= len(numbers)
    values, t = both(numbers)
    ours, theirs = cross_entropy(values, target), F.cross_entropy(t, torch.tensor(target))
    ours.backward()
    theirs.backward()
    close(ours.data, theirs.item())
    close([v.grad for v in values], t.grad.tolist())


@given(rows)
def test_softmax_equals_torch(numbers):
    values, t = both(numbers)
    weights = [math.sin(i) for i in range(len(numbers))]
    ours, theirs = softmax(values), t.softmax(0)
    close([p.data for p in ours], theirs.tolist())
    dot(ours, weights).backward()
    (theirs * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    close([v.grad for v in values], t.grad.tolist())


@given(st.floats(-800, 800), st.sampled_from([0.0, 1.0, 0.25]))
def test_binary_cross_entropy_equals_torch(logit, target):
    (v,), t = both([logit])
    ours = binary_cross_entropy(v, target)
    theirs = F.binary_cross_entropy_with_logits(t[0], torch.tensor(target, dtype=torch.float64))
    ours.backward()
    theirs.backward()
    close(ours.data, theirs.item())
    close(v.grad, t.grad.item())


def test_binary_cross_entropy_has_no_kink_where_training_begins():
    z = Value(0.0)
    binary_cross_entropy(z, 1).backward()
    assert z.grad == -0.5


@given(rows)
def test_mse_equals_torch(numbers):
    values, t = both(numbers)
    targets = [x / 2 + 1 for x in numbers]
    ours, theirs = mse(values, targets), F.mse_loss(t, torch.tensor(targets, dtype=torch.float64))
    ours.backward()
    theirs.backward()
    close(ours.data, theirs.item())
    close([v.grad for v in values], t.grad.tolist())


def test_the_figures_of_the_notes():
    assert [round(nll(p).data, 3) for p in (0.7, 0.95, 0.30, 0.05)] == [0.357, 0.051, 1.204, 2.996]
    assert [round(nll(p).data, 4) for p in (0.9, 0.5, 0.1, 0.01)] == [
        0.1054,
        0.6931,
        2.3026,
        4.6052,
    ]
    start, change = Value(300.0), Value(0.0)
    loss = (start + change * 4 - 580) ** 2
    loss.backward()
    assert (start.grad, change.grad) == (-560.0, -2240.0)
    # the logits that the notes give; the other four words are left out there
    logits = [2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10]
    values = [Value(z) for z in logits]
    loss = cross_entropy(values, 0)
    loss.backward()
    assert round(loss.data, 6) == 1.901281
    assert [round(values[i].grad, 4) for i in (0, 4, 5, 6)] == [-0.8506, 0.4488, 0.3008, 0.0820]
    with_four_more = softmax(values + [Value(0)] * 4)
    assert round(with_four_more[0].data, 4) == 0.1392
    assert round(Value(2.1).sigmoid().data, 3) == 0.891


@pytest.mark.parametrize(
    ("rate", "after"), [(0.001, 0.5002), (0.01, 0.502), (0.1, 0.520), (1.0, 0.700), (10.0, 2.500)]
)
def test_a_step_at_five_rates(rate, after):
    p = Value(0.5)
    p.grad = -0.2
    SGD([p], rate).step()
    assert round(p.data, 4) == after


def test_a_step_of_the_coffee_shop():
    start, change = Value(500), Value(-50)
    start.grad, change.grad = 400.0, -90.0
    SGD([start, change], learning_rate=0.01).step()
    assert (start.data, round(change.data, 10)) == (496.0, -49.1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (lambda p: SGD(p, 0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
        (lambda p: Adam(p), lambda p: torch.optim.Adam(p)),
        (
            lambda p: Adam(p, 0.1, 0.8, 0.9, 1e-3),
            lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), 1e-3),
        ),
    ],
)
def test_optimizers_equal_torch_step_for_step(ours, theirs):
    values, t = both([1.0, -2.0, 0.5])
    a, b = ours(values), theirs([t])
    for _ in range(20):
        a.zero_grad()
        b.zero_grad()
        total(v**4 * 0.1 + v * 0.3 for v in values).backward()
        (t**4 * 0.1 + t * 0.3).sum().backward()
        a.step()
        b.step()
        assert [v.data for v in values] == pytest.approx(t.tolist(), rel=1e-13)


def test_sums_and_extremes():
    v = [Value(3.0), Value(1.0), Value(3.0)]
    maximum(v).backward()
    assert [x.grad for x in v] == [1.0, 0.0, 0.0]
    assert minimum(v).data == 1.0
    assert mean(v).data == 7 / 3
    assert total([]).data == 0.0
    assert dot([1.0, 2.0], [Value(3.0), 4.0], start=5).data == 16.0
    assert pick(v, 1) is v[1]
    chosen = pick(v, Value(2.0))
    chosen.backward()
    assert [x.grad for x in v] == [1.0, 0.0, 1.0]


def test_sentences_for_what_does_not_fit():
    with pytest.raises(WhenceError, match="2 predictions for 1 targets"):
        mse([1, 2], [1])
    with pytest.raises(WhenceError, match="mean of no values"):
        mean([])
    with pytest.raises(WhenceError, match="row of 1 cannot be multiplied with a row of 2"):
        dot([1], [1, 2])
    for wrong in (3, -1, 0.5):
        with pytest.raises(WhenceError, match="is not one of 0 … 2"):
            pick([1, 2, 3], wrong)
    with pytest.raises(WhenceError, match="one length"):
        Matrix([[1], [1, 2]])
    with pytest.raises(WhenceError, match="2 × 2 matrix cannot be multiplied with a 1 × 2 one"):
        Matrix([[1, 2], [3, 4]]) @ Matrix([[1, 2]])
    with pytest.raises(WhenceError, match="does not fit"):
        Matrix([[1, 2], [3, 4]]) + Matrix([[1, 2, 3]])


matrices = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.floats(0.1, 3), min_size=n, max_size=n), min_size=1, max_size=4)
)


@settings(max_examples=50)
@given(matrices)
def test_a_formula_over_matrices_equals_torch(numbers):
    def formula(m, vector):
        h = (m @ m.T + 1.0).tanh() * 2.0
        h = h - h.sum(1, keepdim=True) / 3.0
        h = (m * vector + vector).sigmoid().sum() + (h**2).sum() + (1.0 - m).relu().sum()
        return h + (-m).exp().mean() + (m + 1.0).log().sqrt().abs().sum(0, keepdim=True).sum()

    vector = [[0.5 * i for i in range(len(numbers[0]))]]
    ours_m, ours_v = Matrix(numbers), Matrix(vector)
    t, u = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (numbers, vector))
    ours, theirs = formula(ours_m, ours_v), formula(t, u)
    ours.backward()
    theirs.backward()
    close(ours.data, theirs.item())
    close([v.grad for v in ours_m.values()], t.grad.flatten().tolist())
    close([v.grad for v in ours_v.values()], u.grad.flatten().tolist())


def test_parts_of_a_matrix():
    m = Matrix([[1, 2, 3], [4, 5, 6]])
    assert m[1, 2].data == 6
    assert m[[1, 0]].numbers() == [[4, 5, 6], [1, 2, 3]]
    assert m[1].numbers() == [[4, 5, 6]]
    assert m[:, 1:].numbers() == [[2, 3], [5, 6]]
    assert m[0:1, [0, 2]].numbers() == [[1, 3]]
    assert (2 * m - 1).shape == (2, 3)
    assert (1 - m).numbers()[0] == [0, -1, -2]
    assert (1 + m / m).numbers()[0] == [2, 2, 2]
