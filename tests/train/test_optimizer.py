"""Each optimizer against torch's own, step for step."""

import math

import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.train.optimizer import NotFiniteError, Optimizer, roles
from whence.train.optimizers import (
    JORDAN,
    POLAR_EXPRESS,
    AdamWConfig,
    MuonConfig,
    SGDConfig,
    orthogonalize,
)
from whence.train.schedules import Schedule

CONSTANT = Schedule("constant", warmup=0)


def network(dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def train_both(ours_config, theirs_for, steps=20, dtype=torch.float64):
    ours, theirs = network(dtype), network(dtype)
    close = {torch.float64: (1e-12, 1e-13), torch.float32: (1e-5, 1e-6)}[dtype]
    optimizer = Optimizer(ours, ours_config, CONSTANT, steps)
    reference = theirs_for(theirs)
    for step in range(steps):
        torch.manual_seed(step)
        x, y = torch.randn(16, 5).to(dtype), torch.randn(16, 3).to(dtype)
        for model, stepper in ((ours, optimizer), (theirs, reference)):
            stepper.zero_grad()
            (model(x) - y).square().mean().backward()
            stepper.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=close[0], atol=close[1])
    assert not torch.equal(ours[0].weight, network(dtype)[0].weight)


@pytest.mark.parametrize(
    "extra", [{}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}]
)
def test_sgd_equals_torch(extra):
    train_both(
        SGDConfig(learning_rate=0.05, **extra),
        lambda m: torch.optim.SGD(m.parameters(), lr=0.05, **extra),
    )


# Our formula moves the double parameters, torch's kernel the single ones.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_equals_torch(decay, dtype):
    def reference(model):
        matrices = [p for p in model.parameters() if p.ndim == 2]
        vectors = [p for p in model.parameters() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0},
        ]
        return torch.optim.AdamW(groups, lr=0.01, foreach=False)

    config = AdamWConfig(learning_rate=0.01, weight_decay=decay, max_grad_norm=0.0)
    train_both(config, reference, dtype=dtype)


def test_clipping_equals_torch():
    class Clipped(torch.optim.SGD):
        def step(self):
            torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.1, foreach=True)
            super().step()

    # torch divides by the norm plus 1e-6, so the agreement is that close and no closer.
    ours, theirs = network(), network()
    optimizer = Optimizer(ours, SGDConfig(learning_rate=0.5, max_grad_norm=0.1), CONSTANT, 1)
    reference = Clipped(theirs.parameters(), lr=0.5)
    for model, stepper in ((ours, optimizer), (theirs, reference)):
        model(torch.ones(4, 5).double()).square().sum().backward()
        stepper.step()
    assert optimizer.grad_norm > 0.1
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_muon_equals_torch():
    torch.manual_seed(0)
    start = [torch.randn(16, 16), torch.randn(32, 16), torch.randn(16, 32)]
    ours = nn.ParameterList(nn.Parameter(p.clone()) for p in start)
    theirs = [nn.Parameter(p.clone()) for p in start]
    config = MuonConfig(
        learning_rate=0.05,
        momentum=0.95,
        coefficients="jordan",
        orthogonalize_steps=5,
        weight_decay=0.1,
    )
    optimizer = Optimizer(ours, config, CONSTANT, 10, matmul_dtype=torch.bfloat16)
    reference = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1)
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
        for a, b, p in zip(ours, theirs, start, strict=True):
            moved = (b - p).norm()
            # Both round at 2^-8 in every product, in another order; torch also before the first.
            assert (a - b).norm() < 0.05 * moved


@pytest.mark.parametrize("triples", [JORDAN, POLAR_EXPRESS, POLAR_EXPRESS[:3]])
def test_orthogonalize_is_a_polynomial_of_the_singular_values(triples):
    torch.manual_seed(0)
    matrix = torch.randn(24, 40)
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for a, b, c in triples:
        s = a * s + b * s**3 + c * s**5
    expected = u @ torch.diag(s) @ vh
    torch.testing.assert_close(
        orthogonalize([matrix], triples)[0].double(), expected, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        orthogonalize([matrix.mT], triples)[0].double(), expected.mT, atol=1e-5, rtol=1e-4
    )


def test_rank_one_in_bfloat16_stays_near_one():
    """Its one singular value starts at 1, where rounding up would make the iteration blow up."""
    for seed in range(20):
        torch.manual_seed(seed)
        matrix = torch.outer(torch.randn(32), torch.randn(64))
        near = orthogonalize([matrix], POLAR_EXPRESS, torch.bfloat16)[0]
        assert torch.linalg.matrix_norm(near, 2) < 1.3


@pytest.mark.parametrize(
    ("triples", "low", "high"), [(JORDAN, 0.5, 1.3), (POLAR_EXPRESS, 0.8, 1.2)]
)
def test_orthogonalize_brings_singular_values_near_one(triples, low, high):
    torch.manual_seed(0)
    for shape in ((20, 60), (60, 20), (20, 20)):
        near = orthogonalize([torch.randn(shape)], triples)[0]
        values = torch.linalg.svdvals(near)
        if shape == (20, 20):
            values = values[:-1]  # a square random matrix can have one value too small to lift
        assert near.shape == shape
        assert values.min() > low
        assert values.max() < high


@pytest.mark.parametrize(
    ("rate", "after"), [(0.001, 0.5002), (0.01, 0.502), (0.1, 0.52), (1.0, 0.7), (10.0, 2.5)]
)
def test_five_rates(rate, after):
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.5)
    model.weight.grad = torch.tensor([[-0.2]])
    Optimizer(model, SGDConfig(learning_rate=rate), CONSTANT, 1).step()
    assert model.weight.item() == pytest.approx(after, abs=1e-6)


def test_nothing_moves_when_a_gradient_is_not_finite():
    model = network()
    optimizer = Optimizer(model, AdamWConfig(), CONSTANT, 5)
    model(torch.ones(2, 5).double()).sum().backward()
    model[2].bias.grad[1] = math.nan
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(NotFiniteError, match=r"step 0: the gradient of 2\.bias is not finite"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.state_dict() == {}


def test_frozen_and_unused_parameters_stay():
    model = network()
    model[0].weight.requires_grad = False
    optimizer = Optimizer(model, AdamWConfig(), CONSTANT, 5)
    before = model[0].weight.clone()
    model(torch.ones(2, 5).double()).sum().backward()
    model[2].bias.grad = None
    optimizer.step()
    assert torch.equal(model[0].weight, before)
    assert sorted(optimizer.state_dict()) == ["0.bias.m", "0.bias.v", "2.weight.m", "2.weight.v"]


def test_state_goes_and_comes_back():
    def run(model, optimizer, steps):
        for step in steps:
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(4, 5).double()).square().sum().backward()
            optimizer.step()

    whole, cut = network(), network()
    config, schedule = MuonConfig(), Schedule("cosine", 2)
    run(whole, Optimizer(whole, config, schedule, 10), range(10))
    first = Optimizer(cut, config, schedule, 10)
    run(cut, first, range(4))
    second = Optimizer(cut, config, schedule, 10)
    second.load_state_dict(first.state_dict(), index=4)
    run(cut, second, range(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


def test_foreign_state_is_refused():
    optimizer = Optimizer(network(), AdamWConfig(), CONSTANT, 5)
    with pytest.raises(WhenceError, match=r"1\.weight\.m doesn't fit any parameter"):
        optimizer.load_state_dict({"1.weight.m": torch.zeros(1)}, 0)


def test_roles():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.body = nn.Linear(4, 4)
            self.head = nn.Linear(4, 7, bias=False)

    assert roles(Model()) == {
        "embed.weight": "embedding",
        "body.weight": "matrix",
        "body.bias": "other",
        "head.weight": "head",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamWConfig(betas=(1.0, 0.9)), r"betas is 1 0.9: give 0 or more and below 1"),
        (lambda: SGDConfig(learning_rate=-1), r"learning_rate is -1: give 0 or more"),
        (lambda: MuonConfig(orthogonalize_steps=9), r"orthogonalize_steps is 9: give 1 to 5"),
        (lambda: Schedule("wsd", warmup=-1), r"warmup is -1"),
        (lambda: Schedule("wsd", cooldown=2), r"cooldown is 2"),
    ],
)
def test_bad_settings_are_told(make, message):
    with pytest.raises(WhenceError, match=message):
        make()


def test_cosine_equals_torch():
    ours = Schedule("cosine", warmup=0, final=0.1)
    parameter = nn.Parameter(torch.zeros(1))
    reference = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=50, eta_min=0.1)
    for step in range(50):
        assert ours.factor(step, 50) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        reference.step()
        schedule.step()
