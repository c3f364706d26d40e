"""Steps of unusual kinds: tensors that wrap others, control flow, threads, forward mode, clipping.

`MODELS` are makers of a model and its loss, for tests that train them in ways of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmarks.why_kinds.making import Kind, Step, trained

Case = tuple[nn.Module, Callable[[nn.Module], Tensor]]  # a model, and what its loss is


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def sparse() -> Case:
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 3))
    tokens = torch.tensor([[1, 2, 3], [4, 5, 1]])
    return model, lambda m: F.cross_entropy(m(tokens).flatten(0, 1), tokens.flatten() % 3)


def max_norm() -> Case:
    tokens = torch.tensor([[1, 2, 3], [4, 5, 1]])
    return nn.Embedding(10, 4, max_norm=0.5), lambda m: m(tokens).square().mean()


def jagged() -> Case:
    rows = [torch.randn(2, 4), torch.randn(5, 4)]

    def loss(model: nn.Module) -> Tensor:
        x = torch.nested.nested_tensor(rows, layout=torch.jagged)
        return model(x).values().square().mean()

    return nn.Linear(4, 3), loss


def nested() -> Case:
    rows = [torch.randn(2, 4), torch.randn(5, 4)]

    def loss(model: nn.Module) -> Tensor:
        return model(torch.nested.nested_tensor(rows)).to_padded_tensor(0.0).square().mean()

    return nn.Linear(4, 3), loss


def mesh() -> Any:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return init_device_mesh("cpu", (1,))


def sharded() -> Case:
    from torch.distributed.fsdp import fully_shard

    model, x, where = plain(), torch.randn(2, 4), mesh()
    for module in (model[0], model[2], model):  # pyright: ignore
        fully_shard(module, mesh=where)
    return model, lambda m: m(x).square().mean()


def distributed() -> Case:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    model, x = plain(), torch.randn(2, 4)
    parallelize_module(model, mesh(), {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return model, lambda m: m(x).square().mean()


class Own(Tensor):
    """A subclass that changes nothing."""


def subclass() -> Case:
    x = torch.randn(2, 4).as_subclass(Own)
    return plain(), lambda m: m(x).square().mean()


def branch() -> Case:
    x = torch.randn(2, 4)

    def loss(model: nn.Module) -> Tensor:
        y = torch.cond(x.sum() > 0, lambda a: model(a).sin(), lambda a: model(a).cos(), (x,))
        return y.square().mean()

    return plain(), loss


def loop() -> Case:
    from torch._higher_order_ops.while_loop import while_loop

    x = torch.randn(2, 4)

    def loss(model: nn.Module) -> Tensor:
        with torch.no_grad():
            _, y = while_loop(
                lambda i, a: i < 3, lambda i, a: (i + 1, torch.tanh(a) * 2), (torch.tensor(0), x)
            )
        return model(y).square().mean()

    return plain(), loss


def forward_mode() -> Case:
    x = torch.randn(2, 4)

    def loss(model: nn.Module) -> Tensor:
        y, slope = jvp(model, (x,), (torch.ones_like(x),))  # pyright: ignore
        return y.square().mean() + slope.square().mean()

    return plain(), loss


def reentrant() -> Case:
    model, x = nn.Sequential(nn.Linear(4, 4), plain()), torch.randn(2, 4)
    return model, lambda m: checkpoint(m[1], m[0](x), use_reentrant=True).square().mean()  # type: ignore[index,union-attr]


def scalars() -> Case:
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.scale = plain(), nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * self.scale.exp()

    x = torch.randn(2, 4)
    return Scaled(), lambda m: m(x).square().mean()


class Cube(torch.autograd.Function):
    """x³ and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x³."""
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore
        """3x²·g."""
        (x,) = ctx.saved_tensors
        return 3 * x * x * g


def custom() -> Case:
    x = torch.randn(2, 4)

    def loss(model: nn.Module) -> Tensor:
        cubes = Cube.apply(model(x))
        return cubes.mean()

    return plain(), loss


def penalty() -> Case:
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), torch.randn(2, 4)

    def loss(model: nn.Module) -> Tensor:
        at = x.clone().requires_grad_()
        y = model(at)
        (slope,) = torch.autograd.grad(y.sum(), at, create_graph=True)
        return y.mean() + (slope.norm(dim=1) - 1).square().mean()

    return model, loss


def hooked() -> Case:
    model, x = nn.Linear(4, 3), torch.randn(2, 4)
    model.weight.register_hook(lambda g: g * 2)

    def halve(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.mul_(0.5)

    model.bias.register_post_accumulate_grad_hook(halve)
    return model, lambda m: m(x).square().mean()


def empty() -> Case:
    x = torch.randn(2, 4)
    return plain(), lambda m: m(torch.cat([x, x[:0]])).square().mean()


MODELS: dict[str, Callable[[], Case]] = {
    "sparse embedding": sparse,
    "embedding with a largest norm": max_norm,
    "jagged rows": jagged,
    "nested rows": nested,
    "sharded parameters (FSDP2)": sharded,
    "tensor parallel (DTensor)": distributed,
    "tensor subclass": subclass,
    "cond": branch,
    "while_loop": loop,
    "forward mode (jvp)": forward_mode,
    "reentrant checkpoint": reentrant,
    "parameters of no dimension": scalars,
    "own autograd function, cubes": custom,
    "gradient penalty of the input": penalty,
    "gradient hooks": hooked,
    "empty parts": empty,
}


def _trained(make: Callable[[], Case]) -> Kind:
    def kind() -> Step:
        model, loss_of = make()
        return trained(model, lambda: loss_of(model), torch.optim.SGD(model.parameters(), 0.1))

    return kind


def _normed(wrap: Callable[[nn.Module], nn.Module]) -> Kind:
    def kind() -> Step:
        model, x = (
            nn.Sequential(wrap(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)),
            torch.randn(2, 4),
        )
        return trained(model, lambda: model(x).square().mean())

    return kind


def _clipped(norm: float, foreach: bool) -> Kind:
    def kind() -> Step:
        model, x = plain(), torch.randn(2, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def step() -> None:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01, norm, foreach=foreach)
            optimizer.step()

        return step

    return kind


def _complex(optimizer: Callable[..., Any]) -> Kind:
    def kind() -> Step:
        model, x = nn.Linear(3, 2, dtype=torch.complex64), torch.randn(4, 3, dtype=torch.complex64)
        moving = optimizer(model.parameters(), lr=0.01)
        step = trained(model, lambda: model(x).abs().square().mean(), moving)
        step()
        return step

    return kind


def _backward_in_a_thread() -> Step:
    model, x = plain(), torch.randn(2, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step() -> None:
        optimizer.zero_grad()
        thread = threading.Thread(target=model(x).square().mean().backward)
        thread.start()
        thread.join()
        optimizer.step()

    return step


def _flexible(blocks: bool) -> Kind:
    """On a processor torch runs flex_attention without gradients only."""

    def kind() -> Step:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        inner, x = nn.Linear(16, 48), torch.randn(2, 5, 16)

        def step() -> Tensor:
            with torch.no_grad():
                q, k, v = (a.unflatten(-1, (2, 8)).transpose(1, 2) for a in inner(x).chunk(3, -1))
                if not blocks:
                    return flex_attention(q, k, v, lambda s, b, h, i, j: s - (i - j).abs())  # pyright: ignore
                past = create_block_mask(lambda b, h, i, j: i >= j, None, None, 5, 5, "cpu")
                return flex_attention(q, k, v, block_mask=past)  # pyright: ignore

        step.model = inner  # pyright: ignore
        return step

    return kind


def _evaluated(make: Callable[[], nn.Module], **options: Any) -> Kind:
    def kind() -> Step:
        model, x = make().eval(), torch.randn(3, 5, 8)
        given = {n: v() if callable(v) else v for n, v in options.items()}

        def step() -> Tensor:
            with torch.inference_mode():
                return model(x, **given)

        step.model = model  # pyright: ignore
        return step

    return kind


def _padding() -> Tensor:
    return torch.arange(5)[None] >= torch.tensor([5, 4, 2])[:, None]


def _layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


class _Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(x, x, x)[0]


KINDS: dict[str, Kind] = {
    **{name: _trained(make) for name, make in MODELS.items()},
    "spectral norm": _normed(nn.utils.parametrizations.spectral_norm),
    "spectral norm by hooks": _normed(nn.utils.spectral_norm),
    "clipping by the largest": _clipped(float("inf"), False),
    "clipping by the largest, foreach": _clipped(float("inf"), True),
    "clipping by the sum": _clipped(1.0, False),
    "complex SGD": _complex(torch.optim.SGD),
    "complex Adam": _complex(torch.optim.Adam),
    "complex AdamW": _complex(torch.optim.AdamW),
    "complex RMSprop": _complex(torch.optim.RMSprop),
    "backward in a thread": _backward_in_a_thread,
    "flex_attention": _flexible(False),
    "flex_attention, blocks": _flexible(True),
    "evaluation, encoder layer": _evaluated(_layer),
    "evaluation, encoder layer, norm first": _evaluated(lambda: _layer(norm_first=True)),
    "evaluation, encoder": _evaluated(lambda: nn.TransformerEncoder(_layer(), 2)),
    "evaluation, encoder, padding packed away": _evaluated(
        lambda: nn.TransformerEncoder(_layer(), 2), src_key_padding_mask=_padding
    ),
    "evaluation, attention": _evaluated(_Heads),
}
