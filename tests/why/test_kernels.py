"""Where a kernel of torch is wrong, its numbers don't add up; where it is right, they do."""

import numpy as np
import pytest
import torch

from benchmarks.why_kinds import KINDS
from benchmarks.why_kinds.survey import examine
from whence.why import balance, trace


def test_balance_says_of_fused_sgd_in_bfloat16_what_numpy_says():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(64).bfloat16())
    gradient = torch.randn(64).bfloat16()
    before = weight.detach().double().numpy()
    weight.grad = gradient
    optimizer = torch.optim.SGD([weight], lr=0.5, fused=True)
    t = trace(optimizer.step, model=torch.nn.ParameterList([weight]), optimizer=optimizer)
    expected = before - 0.5 * gradient.double().numpy()
    apart = np.abs(weight.detach().double().numpy() - expected)
    wrong_by_numpy = int((apart > 2.0**-7 * (np.abs(before) + np.abs(expected))).sum())
    found = balance(t, numbers=64, each=64)
    assert bool(found.wrong) == bool(wrong_by_numpy)
    assert len(found.wrong) >= wrong_by_numpy


def test_balance_says_of_matrix_exp_in_bfloat16_what_numpy_says():
    torch.manual_seed(0)
    x = torch.randn(4, 4).bfloat16() * 0.3
    t = trace(lambda: torch.linalg.matrix_exp(x))
    term, expected = np.eye(4), np.eye(4)
    for n in range(1, 30):
        term = term @ x.double().numpy() / n
        expected = expected + term
    stored = t.result.double().numpy()
    wrong = ~(np.abs(stored - expected) <= 0.1 * np.abs(expected).max())
    assert bool(balance(t, numbers=16, each=16).wrong) == bool(wrong.any())


@pytest.mark.parametrize(
    ("family", "kind"),
    [("types and graphs", "single numbers of a wider type"), ("unusual", "sparse embedding")],
)
def test_what_a_bfloat16_kernel_rounds_beforehand_is_allowed_for(family, kind):
    found = examine(KINDS[family][kind], torch.bfloat16, numbers=600)
    assert found is not None
    assert found.whole


def test_the_bound_of_a_power_follows_its_exponent():
    """NumPy says how far a cube root in bfloat16 is off, and that a square root's isn't."""
    x = torch.rand(500).bfloat16()
    for exponent in (1 / 3, 0.5):
        t = trace(lambda y=exponent: x.pow(y))
        exact = x.double().numpy() ** exponent
        worst = np.abs(t.result.double().numpy() / exact - 1).max() * 2**8
        assert (worst > 1) == (exponent != 0.5)  # half a unit is what one rounding leaves
        assert not balance(t, numbers=500, each=500).wrong
