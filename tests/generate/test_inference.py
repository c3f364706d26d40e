"""In inference a torch model's weights are fixed, whoever tries to change them."""

import copy

import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.generate import generate, inference
from whence.models import GPTConfig, build

EDITS = {
    "in place": lambda m: m.weight.add_(1),
    "data": lambda m: m.weight.data.mul_(2),
    "data set": lambda m: setattr(m.weight, "data", torch.zeros(2, 2)),
    "an element": lambda m: m.weight.__setitem__((0, 0), 3.0),
    "a view": lambda m: m.weight[0].zero_(),
    "nn.init": lambda m: nn.init.zeros_(m.bias),
    "load_state_dict": lambda m: m.load_state_dict(
        {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    ),
    "out=": lambda m: torch.add(torch.ones(2), torch.ones(2), out=m.bias.data),
    "foreach": lambda m: torch._foreach_add_([torch.ones(2), m.bias], 1.0),
    "copy_": lambda m: m.bias.copy_(torch.ones(2)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_refused_by_name(edit):
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model.state_dict())
    name = "bias" if edit in ("nn.init", "out=", "foreach", "copy_") else "weight"
    refused = pytest.raises((WhenceError, RuntimeError), match=f"{name} cannot change")
    with inference(model), refused:
        EDITS[edit](model)
    assert all(torch.equal(before[n], x) for n, x in model.state_dict().items())


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
@pytest.mark.parametrize("foreach", [True, False])
def test_an_optimizer_cannot_step(kind, foreach):
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1, foreach=foreach)
    before = copy.deepcopy(model.state_dict())
    with inference(model), pytest.raises(WhenceError, match="cannot change"):
        optimizer.step()
    assert all(torch.equal(before[n], x) for n, x in model.state_dict().items())
    optimizer.step()
    assert not torch.equal(before["bias"], model.bias)


def test_gradients_are_refused():
    model = nn.Linear(2, 2)
    outside = model(torch.ones(1, 2)).sum()
    with inference(model):
        assert not model(torch.ones(1, 2)).requires_grad
        with pytest.raises(WhenceError, match="no gradients here"):
            outside.backward()
        with pytest.raises(WhenceError, match="no gradients here"):
            torch.autograd.grad(outside, [model.weight])
    assert model.weight.grad is None
    outside.backward()
    assert model.weight.grad is not None


def test_predictions_are_the_same_inside_and_generation_works():
    model = build(GPTConfig(n_layers=1, d_model=16, dropout=0.5), 11).train()
    model.eval()
    tokens = torch.tensor([[1, 2, 3]])
    expected = model(tokens)
    model.train()

    class Digits:
        vocab_size = 11
        beginning = ends = ()

        def encode(self, text):
            return [int(c) for c in text]

        def decode(self, ids):
            return "".join(map(str, ids))

    with inference(model):
        assert torch.equal(model(tokens), expected)
        assert len(generate(model, Digits(), "12", max_tokens=3, temperature=0)) == 1
    assert model.training
