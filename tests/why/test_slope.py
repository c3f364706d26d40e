"""Numerical slopes: of closed boxes, and the same as autograd's where there is a rule."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.why import trace


@torch.library.custom_op("whence_tests::lookalike", mutates_args=())
def lookalike(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.cumsum(x.numpy() * np.sin(w.numpy())))


@torch.library.custom_op("whence_tests::narrow", mutates_args=())
def narrow(x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.float32:
        raise TypeError("float32 alone")
    return x * x


@torch.library.custom_op("whence_tests::rushes", mutates_args=("x",))
def rushes(x: torch.Tensor) -> None:
    x.mul_(x.abs().sum())


def test_a_closed_box_has_slopes():
    x, w = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.2, -1.0])

    def step() -> torch.Tensor:
        y = lookalike(x, w)
        return y  # noqa: RET504 - the variable is its name

    t = trace(step)
    number = t.number("y[1]")
    receipt = number.why()
    assert receipt.verdict == "closed box"
    assert "--slope" in str(receipt)
    found = number.slope()
    wide_x, wide_w = x.double().requires_grad_(), w.double().requires_grad_()
    (wide_x * wide_w.sin()).cumsum(0)[1].backward()
    expected = {
        f"{n}[{i}]": float(v.grad[i]) for n, v in (("x", wide_x), ("w", wide_w)) for i in (0, 1)
    }
    assert {a: s for a, _, s in found.inputs} == pytest.approx(expected, rel=1e-8)
    assert found.tried == 6
    assert found.dtype == "float64"
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert "6 inputs nudged in float64, 4 of them count" in str(found)


def test_a_kernel_that_takes_one_type_alone_and_one_that_writes_in_place_have_slopes():
    x = torch.tensor([3.0, -2.0])

    def step() -> torch.Tensor:
        y = narrow(x)
        z = y.clone()
        rushes(z)
        return z

    t = trace(step)
    found = t.number("y[0]").slope()
    assert found.dtype == "float32"
    assert [(a, pytest.approx(s, rel=1e-3)) for a, _, s in found.inputs] == [("x[0]", 6.0)]
    of = {a.rpartition("[")[2]: s for a, _, s in t.number("z#2[0]").slope().inputs}
    assert of == pytest.approx({"0]": 9 + 13, "1]": 9}, rel=1e-7)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Softmax(-1), nn.LayerNorm(5), nn.SiLU()])
def test_where_there_is_a_rule_the_slopes_are_autograd_s(activation):
    torch.manual_seed(0)
    x = torch.randn(2, 5)

    def step() -> torch.Tensor:
        y = activation(x)
        return y  # noqa: RET504 - the variable is its name

    found = trace(step).number("y[1,2]").slope()
    wide = x.double().requires_grad_()
    activation.double()(wide)[1, 2].backward()
    assert wide.grad is not None
    expected = {
        f"x[{i},{j}]": float(wide.grad[i, j]) for i in (0, 1) for j in range(5) if wide.grad[i, j]
    }
    assert {a: s for a, _, s in found.inputs if a.startswith("x[")} == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


def test_what_has_no_slope_says_why():
    x = torch.randn(2000, requires_grad=True)

    def step() -> torch.Tensor:
        y = torch.rand_like(x)
        z = (x * y).sum()
        z.backward()
        return z

    t = trace(step)
    with pytest.raises(WhenceError, match="nothing in this step made it"):
        t.number("x[1]").slope()
    before = torch.get_rng_state()
    with pytest.raises(WhenceError, match="it is random"):
        t.number("y[7]").slope()
    assert torch.equal(torch.get_rng_state(), before)
    assert t.number("z").slope().tried == 2000
