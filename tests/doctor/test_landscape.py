"""Sharpness, noise scale and range test: against torch's Hessian, a closed form, and a parabola."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from whence.doctor.measuring.landscape import HIGHEST, LOWEST, noise_scale, rate_range, sharpness


@pytest.mark.parametrize("scaled", [False, True])
def test_sharpness_is_the_largest_eigenvalue_of_torchs_hessian(scaled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(16, 4).double(), torch.randint(3, (16,))
    parameters = dict(model.named_parameters())
    scales = [
        torch.rand_like(p) + 0.1 if scaled else torch.ones_like(p) for p in model.parameters()
    ]
    sizes = [p.numel() for p in parameters.values()]

    def of(flat):
        pieces = [t.view_as(p) for t, p in zip(flat.split(sizes), parameters.values(), strict=True)]
        return F.cross_entropy(
            torch.func.functional_call(model, dict(zip(parameters, pieces, strict=True)), x), y
        )

    flat = torch.cat([p.detach().flatten() for p in parameters.values()])
    root = torch.cat([s.flatten() for s in scales]).sqrt()
    hessian = root[:, None] * torch.autograd.functional.hessian(of, flat) * root
    found = sharpness(
        lambda: F.cross_entropy(model(x), y), list(model.parameters()), scales, steps=30
    )
    assert found == pytest.approx(float(torch.linalg.eigvalsh(hessian).max()), rel=1e-5)


def test_noise_scale_of_made_up_gradients_is_their_closed_form():
    """Of batches of b examples around G with covariance Σ = diag(σ²): Σσ²/‖G‖²."""
    rng = np.random.default_rng(0)
    mean, sigma, batch = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0]), 4
    drawn = mean + sigma / np.sqrt(batch) * rng.standard_normal((4000, 3))
    found = noise_scale(list(torch.tensor(drawn)), batch)
    assert found == pytest.approx((sigma**2).sum() / (mean**2).sum(), rel=0.05)


def test_the_sweep_breaks_where_gradient_descent_on_a_parabola_does():
    """With curvature c a step at rate η multiplies w by 1 − ηc: it grows from η = 2/c on."""
    curvature, w = 40.0, [1.0]

    def step(rate):
        loss = 0.5 * curvature * w[0] ** 2
        w[0] -= rate * curvature * w[0]
        return loss

    steepest, broke = rate_range(step)
    assert broke > 2 / curvature
    assert LOWEST < steepest < 2 / curvature
    steady = rate_range(lambda rate: 1.0)
    assert np.isnan(steady[1])
    assert steady[0] <= HIGHEST
