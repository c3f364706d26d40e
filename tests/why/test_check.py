"""Finite differences in float64 agree with the gradients that the step stored."""

import json

import pytest
import torch
from torch import nn

from tests.why.models import GPT, Recurrent, adamw, stepper, transformer
from whence.errors import WhenceError
from whence.why import trace


@pytest.fixture(scope="module", params=[{}, {"bf16": True, "parts": 2}], ids=["fp32", "bf16"])
def gpt(request):
    torch.manual_seed(0)
    model = GPT(fused=True, dropout=0.2)
    step = stepper(model, adamw(model), **request.param)
    step()
    t = trace(step)
    return t, model, 1e-4 if not request.param else 0.2


@pytest.mark.parametrize(
    "address",
    ["blocks.0.mlp.up.weight[3,7]", "blocks.1.attn.q.weight[2,5].grad", "norm.weight[3]",
     "blocks.0.attn.o.bias[1]", "blocks.1.norm1[1,2,3]", "head[0,4,4].grad"],
)  # fmt: skip
def test_a_nudge_in_float64_says_the_same(gpt, address):
    t, model, accuracy = gpt
    before = [p.detach().clone() for p in model.parameters()]
    gradients = [p.grad.clone() for p in model.parameters()]
    found = t.number(address).check()
    assert found.error < 1e-5
    assert found.stored == pytest.approx(found.exact, rel=accuracy, abs=1e-4)
    assert all(torch.equal(a, p) for a, p in zip(before, model.parameters(), strict=True))
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True))
    assert torch.get_default_dtype() == torch.float32
    assert json.loads(json.dumps(found.to_dict()))["schema"] == 1
    assert "finite difference" in str(found)


@pytest.mark.parametrize("name", ["lstm", "llama"])
def test_fused_layers_and_the_models_of_transformers_are_checked_too(name):
    torch.manual_seed(0)
    model = Recurrent(nn.LSTM) if name == "lstm" else transformer(name)
    t = trace(stepper(model, adamw(model)))
    weight = "rnn.weight_hh_l0[3,4]" if name == "lstm" else "model.layers.0.mlp.up_proj.weight[3,4]"
    found = t.number(weight).check()
    assert found.error < 1e-5
    assert found.stored == pytest.approx(found.exact, rel=1e-3)


def test_a_wrong_gradient_is_seen():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * 3.0

    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def step():
        Wrong.apply(w).sum().backward()

    found = trace(step).number("w[1]").check()
    assert found.difference == pytest.approx(4.0)
    assert found.stored == found.exact == 3.0
    assert found.error > 0.2


def test_what_cannot_be_nudged_says_so(gpt):
    with pytest.raises(WhenceError, match="cannot be nudged"):
        gpt[0].number("blocks.0.h[0,0,0]").check()
