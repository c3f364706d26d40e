"""Parts that are missing, in the wrong place, or cut off from the gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.models.gpt.block import Block, BlockWithoutResidual
from whence.models.layers.attention import Attention
from whence.models.layers.positions import NoPositions
from whence.models.seq2seq.encoder import Residual


class AlwaysDropout(nn.Module):
    """Dropout that evaluation doesn't switch off."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop a fifth."""
        return F.dropout(x, 0.2)


class Shifted(NoPositions):
    """Positions that begin anew with each piece that is read with a cache."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Forget where the piece starts."""
        return x + self.table[: x.shape[1]]


class WithoutResidual(Residual):
    """A part whose input doesn't flow past it."""

    def forward(self, x, **options):  # type: ignore[override]
        """norm(part(x))."""
        return self.norm(self.part(x, **options))


def _no_mask(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Attention):
            module.causal = False
        elif type(module).__name__ == "GPT2Attention":
            module.is_causal = False
    if hasattr(model, "transformer"):
        attend = model.forward

        def forward(input_ids=None, **options):
            mask = torch.zeros(len(input_ids), 1, input_ids.shape[1], input_ids.shape[1])
            return attend(input_ids=input_ids, **{**options, "attention_mask": mask})

        model.forward = forward  # type: ignore[method-assign]


def _no_positions(model: nn.Module) -> None:
    if hasattr(model, "transformer"):
        table = model.transformer.wpe  # type: ignore[union-attr]
        nn.init.zeros_(table.weight)
        table.weight.requires_grad_(False)
        return
    owner: Any = getattr(model, "encoder", model)
    owner.positions = NoPositions()


def _no_residual(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Block):
            module.__class__ = BlockWithoutResidual
        elif isinstance(module, Residual):
            module.__class__ = WithoutResidual


def _untied(model: nn.Module) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())  # type: ignore[union-attr]


def _zero_gain(model: nn.Module) -> None:
    norms = [
        m for m in model.modules() if isinstance(m, nn.LayerNorm) or type(m).__name__ == "LayerNorm"
    ]
    for module in norms[:1]:
        nn.init.zeros_(module.weight)  # type: ignore[arg-type]
        module.weight.requires_grad_(False)  # type: ignore[union-attr]


def _shifted_cache(model: nn.Module) -> None:
    table = model.positions.weight  # type: ignore[union-attr]
    model.positions = Shifted()
    model.positions.table = nn.Parameter(table.detach().clone())


def _detached(model: nn.Module) -> None:
    block: Any = model.transformer.h[0] if hasattr(model, "transformer") else model.blocks[0]  # type: ignore
    block.mlp.register_forward_hook(lambda m, a, out: out.detach())


def _held_rows(model: nn.Module) -> None:
    table = next(m for m in model.modules() if isinstance(m, nn.Embedding))
    rows = table.num_embeddings
    table.weight.register_hook(lambda g: g * (torch.arange(rows) % 2)[:, None])


def _always_dropout(model: nn.Module) -> None:
    if isinstance(model, nn.Sequential):
        for name, part in list(model.named_children()):
            if isinstance(part, nn.Dropout):
                setattr(model, name, AlwaysDropout())
        return
    name = "drop" if hasattr(model, "drop") else "dropout"
    owner: Any = getattr(model, "encoder", model)
    if hasattr(model, "transformer"):
        owner, name = model.transformer, "drop"
    setattr(owner, name, AlwaysDropout())


def _hidden_detached(model: Any) -> None:
    part = model[1] if isinstance(model, nn.Sequential) else model.encoder.blocks[0].mlp.part
    part.register_forward_hook(lambda m, a, out: out.detach())


def _embedding_detached(model: Any) -> None:
    owner = getattr(model, "encoder", model)
    owner.embed.register_forward_hook(lambda m, a, out: out.detach())


class BlockOfGPT2WithoutResidual(nn.Module):
    """A block of transformers' GPT-2 whose input doesn't flow past its parts."""

    def forward(self, hidden_states: Tensor, *_: Any, **options: Any) -> Tensor:
        """A block: h = attn(norm1(x));  y = mlp(norm2(h))."""
        h = self.attn(self.ln_1(hidden_states), **options)[0]  # type: ignore[operator]
        return self.mlp(self.ln_2(h))  # type: ignore[operator]


def _no_residual_in_gpt2(model: Any) -> None:
    for block in model.transformer.h:
        block.__class__ = BlockOfGPT2WithoutResidual


def _cache_of_gpt2_shifted(model: Any) -> None:
    read = model.forward

    def forward(input_ids: Tensor, **options: Any) -> Any:
        places = torch.arange(input_ids.shape[1])[None]
        return read(input_ids=input_ids, **{**options, "position_ids": places})

    model.forward = forward


PARTS = {
    "no mask": _no_mask,
    "no positions": _no_positions,
    "no residual": _no_residual,
    "no residual in GPT-2": _no_residual_in_gpt2,
    "untied": _untied,
    "gain of 0": _zero_gain,
    "cache shifted": _shifted_cache,
    "cache of GPT-2 shifted": _cache_of_gpt2_shifted,
    "detached": _detached,
    "hidden detached": _hidden_detached,
    "embedding detached": _embedding_detached,
    "rows held": _held_rows,
    "always dropout": _always_dropout,
}
