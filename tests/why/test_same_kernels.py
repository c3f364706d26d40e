"""A traced step runs the kernels that it would run anyway, in their order, and keeps its bits.

The oracle is PyTorch's profiler, which sees kernels whether or not anything is recorded.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from tests.why.models import GPT, Recurrent, adamw, stepper
from whence.why import balance, trace

# What makes no number: memory, views and copies, of which the recorder makes some of its own.
MOVES = {
    "_local_scalar_dense", "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "as_strided",
    "chunk", "clone", "contiguous", "copy", "detach", "empty", "empty_like", "empty_strided",
    "expand", "flatten", "item", "lift_fresh", "narrow", "permute", "reshape", "resize",
    "resolve_conj", "resolve_neg", "select", "set", "slice", "split", "split_with_sizes",
    "squeeze", "t", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip


def plain_name(event: Any) -> str:
    """`aten::add_` → `add`: under a mode PyTorch itself does some in new memory."""
    return event.name.removeprefix("aten::").rstrip("_")


def kernels(step: Callable[[], Any]) -> tuple[list[str], Any]:
    """The kernels that a step ran, in order, and what it returned."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        result = step()
    events = [e for e in profiler.events() or () if e.name.startswith(("aten::", "mkldnn"))]
    events.sort(key=lambda e: (e.thread, e.time_range.start, -e.time_range.end))
    found = []
    for event in events:
        name, outer = plain_name(event), event.cpu_parent
        while outer is not None and plain_name(outer) != name:
            outer = outer.cpu_parent
        if outer is None and name not in MOVES:  # handed on by the recorder, it is seen twice
            found.append(name)
    return found, result


def reads(model: Callable[..., Tensor], *inputs: Tensor, mode: Any = torch.no_grad):
    def step() -> Tensor:
        with mode():
            return model(*inputs)

    return step, model


def transformer(mode: Any):
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True, dropout=0.1).eval()
    return reads(model, torch.randn(2, 4, 8), torch.randn(2, 3, 8), mode=mode)


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    return reads(model, torch.randn(3, 5, 8), mode=torch.inference_mode)


def heads():
    model, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 5, 8)
    return reads(lambda x: model(x, x, x)[0], x)


def trains(model: nn.Module, bf16: bool = False, **options: Any):
    return stepper(model, adamw(model, **options), bf16=bf16, clip=1.0), model


def image():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    x, y = torch.randn(2, 3, 6, 6), torch.tensor([0, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, model


KINDS: dict[str, Callable[[], tuple[Callable[[], Tensor], Any]]] = {
    "nn.Transformer": lambda: transformer(torch.no_grad),
    "nn.Transformer, inference mode": lambda: transformer(torch.inference_mode),
    "nn.Transformer, with autograd": lambda: transformer(torch.enable_grad),
    "encoder": encoder,
    "attention": heads,
    "GPT": lambda: trains(GPT(dropout=0.1)),
    "GPT, fused, bf16": lambda: trains(GPT(fused=True), bf16=True, fused=True),
    "LSTM": lambda: trains(Recurrent(nn.LSTM)),
    "GRU": lambda: trains(Recurrent(nn.GRU)),
    "image": image,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kernels_run_in_the_same_order_to_the_same_bits(kind):
    found = []
    for traced in (False, True):
        torch.manual_seed(0)
        step, model = KINDS[kind]()
        weights = list(model.parameters()) if getattr(model, "training", False) else []
        if weights:
            step()  # the first step makes the optimizer's tensors
        names, made = kernels(lambda step=step: trace(step)) if traced else kernels(step)
        result = made.result if traced else made
        found.append((names, [result, *(w.detach() for w in weights)]))
    (alone, expected), (recorded, left) = found
    assert len(alone) >= 10
    assert recorded == alone
    assert all(torch.equal(a, b) for a, b in zip(left, expected, strict=True))
    assert not balance(made, numbers=200, each=5).wrong
