"""Types of numbers, loss scaling, graphs that are re-run, differentiated twice or left out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmarks.why_kinds.making import Kind, Step, draw, function, trained


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3))


def _batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 4), torch.randint(0, 3, (8,))


def _typed(dtype: torch.dtype) -> Kind:
    def kind() -> Step:
        model, (x, y) = _net().to(dtype), _batch()
        return trained(model, lambda: F.cross_entropy(model(x.to(dtype)), y))

    return kind


def _autocast(dtype: torch.dtype) -> Kind:
    def kind() -> Step:
        model, (x, y) = _net(), _batch()

        def loss() -> Tensor:
            with torch.autocast("cpu", dtype=dtype):
                return F.cross_entropy(model(x), y)

        return trained(model, loss)

    return kind


def _scaled(fused: bool = False, overflow: bool = False) -> Kind:
    def kind() -> Step:
        model, (x, y) = _net(), _batch()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1e38 if overflow else 1024.0)  # pyright: ignore

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

        step()
        return step

    return kind


def _checkpointed(reentrant: bool) -> Kind:
    def kind() -> Step:
        model, (x, y) = _net(), _batch()
        x.requires_grad_()
        return trained(
            model,
            lambda: F.cross_entropy(checkpoint(model, x, use_reentrant=reentrant), y),  # pyright: ignore
        )

    return kind


def _accumulated() -> Step:
    model, (x, y) = _net(), _batch()
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        for part in range(2):
            rows = slice(4 * part, 4 * part + 4)
            (F.cross_entropy(model(x[rows]), y[rows]) / 2).backward()
        optimizer.step()

    return step


def _penalised() -> Step:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), draw(5, 4)

    def loss() -> Tensor:
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    return trained(model, loss)


def _inferred() -> Step:
    model, (x, y) = _net().eval(), _batch()

    def step() -> Tensor:
        with torch.inference_mode():
            return F.cross_entropy(model(x), y)

    return step


def _inferred_attention() -> Step:
    attention, x = (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
        torch.randn(2, 5, 8),
    )

    def step() -> Tensor:
        with torch.inference_mode():
            y = F.pad(attention(x), (1, 0)).softmax(-1)
            return F.scaled_dot_product_attention(y, y, y).to(torch.float64).mean()

    return step


def _no_grad() -> Step:
    model, (x, y) = _net().eval(), _batch()

    def step() -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(model(x), y)

    return step


def _asked() -> Step:
    model, (x, y) = _net(), _batch()

    def step() -> Any:
        loss = F.cross_entropy(model(x), y)
        return torch.autograd.grad(loss, list(model.parameters()))

    return step


class _Rounded(torch.autograd.Function):
    """Rounds on the way forward; hands the gradient on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _functional() -> Step:
    model, (x, y) = _net(), _batch()
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, weights, (x,)), y)

    return lambda: torch.func.grad(loss)(weights)


def _per_example() -> Step:
    model, (x, y) = _net(), _batch()
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        out = torch.func.functional_call(model, weights, (x[None],))
        return F.cross_entropy(out, y[None])

    return lambda: torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, x, y)


def _quantised_training() -> Step:
    model, (x, y) = nn.Linear(4, 3), _batch()

    def loss() -> Tensor:
        w = torch.fake_quantize_per_tensor_affine(model.weight, 0.05, 0, -8, 7)
        return F.cross_entropy(F.linear(x, w, model.bias), y)

    return trained(model, loss)


def _lora() -> Step:
    base, down, up = nn.Linear(4, 3), nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)
    base.requires_grad_(False)
    model, (x, y) = nn.ModuleList([base, down, up]), _batch()
    moving = torch.optim.AdamW([*down.parameters(), *up.parameters()])
    return trained(model, lambda: F.cross_entropy(base(x) + 0.5 * up(down(x)), y), moving)


def _dora() -> Step:
    base, down, up = nn.Linear(4, 3), nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)
    size = nn.Parameter(base.weight.detach().norm(dim=1))
    model, (x, y) = nn.ModuleList([base, down, up]), _batch()
    base.requires_grad_(False)
    moving = torch.optim.AdamW([*down.parameters(), *up.parameters(), size])

    def loss() -> Tensor:
        w = base.weight + up.weight @ down.weight
        return F.cross_entropy(F.linear(x, size[:, None] * w / w.norm(dim=1, keepdim=True)), y)

    return trained(model, loss, moving)


def _ia3() -> Step:
    base, scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))
    base.requires_grad_(False)
    x, y = _batch()
    moving = torch.optim.AdamW([scale])
    return trained(base, lambda: F.cross_entropy(base(x) * scale, y), moving)


def _prefix() -> Step:
    prefix, attention = (
        nn.Parameter(torch.randn(1, 2, 8)),
        nn.MultiheadAttention(8, 2, batch_first=True),
    )
    x = torch.randn(2, 5, 8)

    def loss() -> Tensor:
        keys = torch.cat([prefix.expand(2, -1, -1), x], 1)
        return attention(x, keys, keys)[0].square().mean()

    return trained(attention, loss, torch.optim.AdamW([prefix]))


def _wider() -> Step:
    """What some optimizers do: a number of float32 beside narrower tensors, and a cube root."""
    weight, gradient, rate = torch.randn(40), torch.randn(40), torch.rand((), dtype=torch.float32)

    def step() -> Tensor:
        root = (gradient * gradient).pow(1 / 3)
        moved = weight.addcmul(gradient, -rate).addcdiv(gradient, rate + 1, value=0.1)
        return moved / (root + rate)

    return step


def _tied() -> Step:
    embed, head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
    head.weight = embed.weight
    model, ids = nn.Sequential(embed, head), torch.randint(0, 9, (2, 5))
    return trained(
        model, lambda: F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    )


def _adversarial() -> Step:
    make, judge = (
        nn.Linear(2, 4),
        nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1)),
    )
    moving = torch.optim.Adam(judge.parameters()), torch.optim.Adam(make.parameters())

    def step() -> Tensor:
        real, fake = torch.randn(5, 4), make(torch.randn(5, 2))
        moving[0].zero_grad()
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
        loss.backward()
        moving[0].step()
        moving[1].zero_grad()
        cheat = F.softplus(-judge(fake)).mean()
        cheat.backward()
        moving[1].step()
        return loss.detach() + cheat.detach()

    return step


KINDS: dict[str, Kind] = {
    "float64": _typed(torch.float64),
    "bfloat16": _typed(torch.bfloat16),
    "float16": _typed(torch.float16),
    "autocast, bfloat16": _autocast(torch.bfloat16),
    "autocast, float16": _autocast(torch.float16),
    "loss scaling": _scaled(),
    "loss scaling, fused": _scaled(fused=True),
    "loss scaling, overflow": _scaled(overflow=True),
    "checkpointing": _checkpointed(False),
    "checkpointing, reentrant": _checkpointed(True),
    "accumulation": _accumulated,
    "gradient penalty": _penalised,
    "inference mode": _inferred,
    "inference mode, attention": _inferred_attention,
    "no_grad": _no_grad,
    "autograd.grad": _asked,
    "own autograd function": lambda: function(lambda x: _Rounded.apply(x * 3) * x, draw(3, 4)),
    "torch.func.grad": _functional,
    "gradient per example": _per_example,
    "training with quantised weights": _quantised_training,
    "LoRA": _lora,
    "DoRA": _dora,
    "IA³": _ia3,
    "prefix tuning": _prefix,
    "tied weights": _tied,
    "single numbers of a wider type": _wider,
    "adversarial": _adversarial,
}
