"""What happens inside a forward pass: activation functions, attentions and blocks, as they run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whence.doctor.measuring.measured import Flow, Reading, Units

ACTIVE = 0.01  # a unit that is active on fewer inputs is dead: Amazon SageMaker Debugger
TANH_END, SIGMOID_END = 0.97, 0.97  # |tanh|: lecture practice; the sigmoid's: ours
COLLAPSED = 0.05  # H/ln(keys) below which a head reads one token: ours

ACTIVATIONS = {
    F.relu: "relu", torch.relu: "relu", torch.relu_: "relu", Tensor.relu: "relu",
    Tensor.relu_: "relu", F.relu6: "relu", torch.tanh: "tanh", Tensor.tanh: "tanh",
    F.tanh: "tanh", torch.sigmoid: "sigmoid", Tensor.sigmoid: "sigmoid", F.sigmoid: "sigmoid",
    F.gelu: "gelu", F.silu: "silu",
}  # fmt: skip
PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.baddbmm}
SOFTMAXES = {torch.softmax, Tensor.softmax, F.softmax}
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Watching(TorchFunctionMode):
    """Listens to the functions of a forward pass and adds up what the rules need.

    Args:
        model: its modules give the names.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.stack: list[str] = []
        self.quiet = 0  # while above 0, only activation functions are listened to
        self.units: dict[str, _Count] = {}
        self.readings: list[Reading] = []
        self.flows: dict[str, Flow] = {}
        self.positional: list[bool] = []
        self.bad: list[str] = []
        self._product: tuple[Tensor, Tensor, Tensor, float] | None = None
        self._handles: list[Any] = []
        self._flow_names = _siblings(model)

    @contextmanager
    def on(self) -> Iterator[Watching]:
        """Listen while this is entered."""
        for name, module in self.model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entering(name)))
            self._handles.append(
                module.register_forward_hook(self._leaving(name), always_call=True)
            )
        try:
            with self:
                yield self
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles = []

    def _entering(self, name: str):
        def enter(module: nn.Module, args: tuple) -> None:
            self.stack.append(name)

        return enter

    def _leaving(self, name: str):
        def leave(module: nn.Module, args: tuple, output: Any) -> None:
            with torch._C.DisableTorchFunction():
                if isinstance(module, RECURRENT) or _is_recurrent(module):
                    self._recurrent(name, output)
                if name in self._flow_names and not self.quiet:
                    self._flow(name, args, output)
                first = _first(output)
                if not self.quiet and first is not None and not _finite(first):
                    self.bad.append(name or "the model")
            if self.stack:
                self.stack.pop()

        return leave

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and note what came out of it."""
        result = func(*args, **(kwargs or {}))
        if func in ACTIVATIONS:
            self._activation(ACTIVATIONS[func], args[0], result)
        elif self.quiet:
            pass
        elif func in PRODUCTS:
            self._multiplied(func, args, kwargs or {}, result)
        elif func in SOFTMAXES:
            self._softmax(args, kwargs or {}, result)
        elif func is F.scaled_dot_product_attention:
            self._fused(args, kwargs or {})
        return result

    @property
    def here(self) -> str:
        """The module that is running."""
        return self.stack[-1] if self.stack else ""

    def _activation(self, function: str, x: Tensor, y: Tensor) -> None:
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2:
            return
        name = f"{self.here}.{function}".lstrip(".")
        with torch.no_grad():
            self.units.setdefault(name, _Count(function)).add(x.detach(), y.detach())

    def _recurrent(self, name: str, output: Any) -> None:
        first = _first(output)
        if first is not None and first.ndim >= 2 and first.is_floating_point():
            y = first.detach()
            self.units.setdefault(f"{name} state", _Count("tanh")).add(y, y)

    def _flow(self, name: str, args: tuple, output: Any) -> None:
        x, y = _first(args), _first(output)
        if x is None or y is None or x.shape != y.shape or not y.is_floating_point():
            return
        a, b = x.detach().float().flatten(), y.detach().float().flatten()
        sizes = float(a.norm()), float(b.norm())
        carried = float(a @ b) / (sizes[0] * sizes[1]) if min(sizes) > 0 else 0.0
        n = math.sqrt(max(1, a.numel()))
        flow = self.flows[name] = Flow(name, carried, sizes[0] / n, sizes[1] / n, float("nan"))
        if y.requires_grad:
            y.register_hook(lambda g: setattr(flow, "grad", float(g.detach().float().norm())))

    def _multiplied(self, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
        given = args[1:] if func is torch.baddbmm else args
        if len(given) < 2 or not isinstance(result, Tensor) or result.ndim < 3:
            return
        q, k = given[0], given[1]
        if q.ndim >= 3 and k.ndim >= 3:
            scale = float(kwargs.get("alpha", 1.0)) if func is torch.baddbmm else float("nan")
            self._product = (q.detach(), k.detach(), result.detach(), scale)

    def _softmax(self, args: tuple, kwargs: dict, weights: Tensor) -> None:
        scores = args[0]
        dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
        if self._product is None or not isinstance(scores, Tensor) or scores.ndim < 3:
            return
        q, k, product, scale = self._product
        if product.shape != scores.shape:
            return
        self._product = None
        d = q.shape[-1]
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if math.isnan(scale):
                scale = _ratio(scores.detach(), product)
            axis = dim in (-1, scores.ndim - 1)
            self._read(weights.detach(), scores.detach(), scale * math.sqrt(d), d, axis)
            self._place(q, k.mT)

    def _fused(self, args: tuple, kwargs: dict) -> None:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | kwargs
        q, k, mask = given["query"].detach(), given["key"].detach(), given.get("attn_mask")
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if q.shape[1] != k.shape[1]:
                k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
            d = q.shape[-1]
            scale = given.get("scale") or 1 / math.sqrt(d)
            scores = (q.float() @ k.float().mT) * scale
            if given.get("is_causal"):
                T, S = scores.shape[-2:]
                later = torch.ones(T, S, dtype=torch.bool, device=q.device).triu(1)
                scores = scores.masked_fill(later, -math.inf)
            if mask is not None:
                hidden = ~mask if mask.dtype == torch.bool else None
                scores = scores.masked_fill(hidden, -math.inf) if hidden is not None else (
                    scores + mask
                )  # fmt: skip
            self._read(scores.softmax(-1), scores, scale * math.sqrt(d), d, True)
            self._place(q, k)

    def _read(self, weights: Tensor, scores: Tensor, scale: float, d: int, axis: bool) -> None:
        w = weights.float()
        T, S = w.shape[-2:]
        seen = (scores.isfinite() & (scores > -1e4)).sum(-1)  # a weight of 0 may be a key unread
        h = -(w * w.clamp(min=1e-30).log()).sum(-1)
        enough = (seen >= 4) & w.isfinite().all(-1)
        share = h / seen.clamp(min=2).float().log()
        per_head = torch.where(enough, share, torch.nan).flatten(0, -2).nanmean(-1)
        per_head = per_head[~per_head.isnan()]
        ahead = float(w.triu(1).max()) if T == S and T > 1 else float("nan")
        shown = scores.float()
        shown = shown[shown.isfinite() & (shown > -1e4)]
        self.readings.append(
            Reading(
                self.here,
                float(per_head.mean()) if len(per_head) else float("nan"),
                float((w.sum(-1) - 1).abs().max()),
                ahead,
                scale,
                float(shown.std()) if len(shown) > 1 else float("nan"),
                d,
                float((per_head < COLLAPSED).float().mean()) if len(per_head) else 0.0,
                axis,
            )
        )

    def _place(self, q: Tensor, k: Tensor) -> None:
        """Whether queries or keys differ from place to place: asked where all tokens are equal."""
        self.positional.append(
            any(
                bool(((x - x[..., :1, :]).abs() > 1e-4 * (1e-6 + x.abs().max())).any())
                for x in (q, k)
            )
        )

    def all_units(self) -> list[Units]:
        """What was counted of activation functions."""
        return [count.told(name) for name, count in self.units.items()]


class _Count:
    """Adds up over calls how often each unit was active."""

    def __init__(self, function: str):
        self.function, self.inputs, self.squares, self.values = function, 0, 0.0, 0
        self.active: Tensor | None = None
        self.ends = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in the outputs y of some inputs x."""
        if y.ndim == 4:  # images: the channel is the unit
            y, x = y.movedim(1, -1), x.movedim(1, -1) if x.shape == y.shape else x
        flat = y.reshape(-1, y.shape[-1])
        active = (flat > 0).sum(0).double()
        if self.active is not None and len(self.active) != len(active):
            return
        self.active = active if self.active is None else self.active + active
        self.inputs += len(flat)
        self.values += flat.numel()
        self.squares += float(x.float().square().sum())
        if self.function == "tanh":
            self.ends += float((flat.abs() > TANH_END).sum())
        elif self.function == "sigmoid":
            self.ends += float(((flat > SIGMOID_END) | (flat < 1 - SIGMOID_END)).sum())

    def told(self, name: str) -> Units:
        """Return what was counted."""
        assert self.active is not None
        dead = float((self.active < ACTIVE * self.inputs).double().mean())
        rms = math.sqrt(self.squares / self.values) if self.values else 0.0
        ends = self.ends / max(1, self.values)
        dead = dead if self.function == "relu" else 0.0
        return Units(name, self.function, len(self.active), self.inputs, dead, ends, rms)


def _siblings(model: nn.Module) -> set[str]:
    """Names of the modules that are in a list with others of their class."""
    found: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            children = list(module.named_children())
            kinds = [type(child) for _, child in children]
            for key, child in children:
                has_parts = any(True for _ in child.children())
                if has_parts and (
                    kinds.count(type(child)) > 1 or isinstance(module, nn.ModuleList)
                ):
                    found.add(f"{name}.{key}".lstrip("."))
    return found


def _is_recurrent(module: nn.Module) -> bool:
    """A layer of its own making that reads the state before: it has a part named `recall`."""
    return isinstance(getattr(module, "recall", None), nn.Linear)


def _first(value: Any) -> Tensor | None:
    """The first tensor of a call's arguments or outputs."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            found = _first(item)
            if found is not None:
                return found
    return None


def _finite(x: Tensor) -> bool:
    return not x.is_floating_point() or bool(x.detach().isfinite().all())


def _ratio(scores: Tensor, product: Tensor) -> float:
    """What the products were multiplied by before the softmax: the median of the ratios."""
    kept = scores.isfinite() & (scores > -1e4) & (product.abs() > 1e-3 * product.abs().max())
    if not bool(kept.any()):
        return float("nan")
    return float((scores[kept] / product[kept]).float().median())
