"""Code written for micrograd runs unchanged: its tests, its demo, its seeds."""

import random

import micrograd.engine
import micrograd.nn
import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

import whence.scalar
from whence.scalar import MLP, Value


def test_expressions_of_its_own_test_file():
    def first(x):
        z = 2 * x + 2 + x
        q = z.relu() + z * x
        h = (z * z).relu()
        return h + q + q * x

    def second(a, b):
        c = a + b
        d = a * b + b**3
        c = c + c + 1
        c = c + 1 + c + (-a)
        d = d + d * 2 + (b + a).relu()
        d = d + 3 * d + (b - a).relu()
        e = c - d
        f = e**2
        g = f / 2.0
        return g + 10.0 / f

    for formula, numbers in ((first, [-4.0]), (second, [-4.0, 2.0])):
        values = [Value(x) for x in numbers]
        theirs = [micrograd.engine.Value(x) for x in numbers]
        tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
        outs = [formula(*xs) for xs in (values, theirs, tensors)]
        for out in outs:
            out.backward()
        assert outs[0].data == pytest.approx(outs[1].data, abs=1e-12)
        assert outs[0].data == outs[2].item()
        for v, m, t in zip(values, theirs, tensors, strict=True):
            assert v.grad == pytest.approx(m.grad, abs=1e-9)
            assert v.grad == pytest.approx(t.grad.item(), abs=1e-12)


def demo(engine, nn, steps=4, samples=20):
    """The moons demo: max-margin loss, L2, accuracy, SGD with a falling rate."""
    np.random.seed(1337)
    random.seed(1337)
    X, y = make_moons(n_samples=samples, noise=0.1)
    y = y * 2 - 1
    model = nn.MLP(2, [16, 16, 1])

    def loss():
        inputs = [list(map(engine.Value, xrow)) for xrow in X]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]  # noqa: B905
        data_loss = sum(losses) * (1.0 / len(losses))
        reg_loss = 1e-4 * sum(p * p for p in model.parameters())
        accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(y, scores)]  # noqa: B905
        return data_loss + reg_loss, sum(accuracy) / len(accuracy)

    history = []
    for k in range(steps):
        total_loss, acc = loss()
        model.zero_grad()
        total_loss.backward()
        learning_rate = 1.0 - 0.9 * k / 100
        for p in model.parameters():
            p.data -= learning_rate * p.grad
        history.append((float(total_loss.data), float(acc)))
    return history, [float(p.data) for p in model.parameters()], repr(model)


def test_its_demo_gives_the_same_run():
    ours = demo(whence.scalar, whence.scalar)
    theirs = demo(micrograd.engine, micrograd.nn)
    assert ours[2] == theirs[2]
    for (a, b), (c, d) in zip(ours[0], theirs[0], strict=True):
        assert a == pytest.approx(c, rel=1e-9)
        assert b == d
    assert ours[1] == pytest.approx(theirs[1], rel=1e-7)


def test_layers_of_one_neuron_feed_the_next():
    # where micrograd tries to iterate over a bare Value
    assert MLP(1, [1, 1])([2.0]).op is not None
