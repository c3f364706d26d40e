"""Weights change in training and are fixed in inference."""

import random

import pytest

from whence.errors import WhenceError
from whence.scalar import MLP, SGD, Adam, Value, inference, jit


def test_weights_are_fixed_in_inference():
    random.seed(0)
    model = MLP(2, [3, 1])
    before = [p.data for p in model.parameters()]
    outside = model([1.0, 2.0]).data
    with inference(model):
        out = model([1.0, 2.0])
        assert out.data == outside
        out.backward()  # gradients may be asked for: that moves nothing
        for optimizer in (SGD(model.parameters(), 0.1), Adam(model.parameters())):
            with pytest.raises(WhenceError, match="its weights are fixed"):
                optimizer.step()
        with pytest.raises(WhenceError, match="this is inference"):
            model.parameters()[0].data = 5.0
        with pytest.raises(WhenceError, match="this is inference"):
            model.parameters()[0].data -= 0.1
    assert [p.data for p in model.parameters()] == before
    assert {type(p) for p in model.parameters()} == {Value}
    SGD(model.parameters(), 0.1).step()
    assert [p.data for p in model.parameters()] != before


def test_it_ends_with_the_block_even_on_an_error():
    model = MLP(1, [1])
    with pytest.raises(ZeroDivisionError), inference(model):
        1 / 0  # noqa: B018
    assert type(model.parameters()[0]) is Value


def test_replays_in_inference():
    random.seed(0)
    model = MLP(1, [2, 1])
    fast = jit(lambda model, x: model([x]))
    with inference(model):
        inside = fast(model, 2.0).data
        with pytest.raises(WhenceError, match="this is inference"):
            model.parameters()[0].data = 1.0
    assert fast(model, 2.0).data == inside == model([2.0]).data
