"""Five kinds of small models, and parts that are broken on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.models import GPT, ClassifierConfig, GPTConfig
from whence.models.gpt.block import Block, BlockWithoutResidual
from whence.models.layers.attention import Attention, future, split_heads
from whence.models.layers.positions import NoPositions
from whence.models.seq2seq.encoder import Classifier, Residual

FAMILIES = ("gpt", "lstm", "mlp", "encoder", "hf")


@dataclass(frozen=True)
class Setting:
    """What differs between trainings of one kind.

    Attributes:
        family: kind of model.
        seed: of weights and data.
        steps: updates.
        batch: examples of a step.
        window: tokens of an example.
        width: of the model.
        layers: of the model.
        vocabulary: tokens there are, or classes.
        rate: learning rate.
        optimizer: adamw, adam, sgd or momentum.
        text: markov, words or drift: how the data are made.
        form: positions of a GPT, or the activation of an MLP.
        dropout: share set to 0.
    """

    family: str
    seed: int = 0
    steps: int = 80
    batch: int = 8
    window: int = 16
    width: int = 32
    layers: int = 2
    vocabulary: int = 20
    rate: float = 3e-3
    optimizer: str = "adamw"
    text: str = "markov"
    form: str = ""
    dropout: float = 0.0


class LSTM(nn.Module):
    """Characters through torch's own LSTM."""

    def __init__(self, s: Setting, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, s.width)
        self.rnn = nn.LSTM(s.width, s.width, num_layers=s.layers, batch_first=True)
        self.drop, self.head = nn.Dropout(s.dropout), nn.Linear(s.width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token."""
        return self.head(self.drop(self.rnn(self.embed(x))[0]))


def mlp(s: Setting) -> nn.Sequential:
    """Points to classes."""
    make = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[s.form or "relu"]
    parts: list[nn.Module] = [nn.Linear(16, s.width), make()]
    for _ in range(s.layers - 1):
        parts += [nn.Linear(s.width, s.width), make()]
        if s.dropout:
            parts.append(nn.Dropout(s.dropout))
    return nn.Sequential(*parts, nn.Linear(s.width, min(s.vocabulary, 5)))


def build(s: Setting, faults: dict[str, Any]) -> nn.Module:
    """Make a model, broken where the faults say so.

    Args:
        s: its sizes.
        faults: `model` names what is broken; other keys are the loop's.
    """
    vocabulary = s.vocabulary * faults.get("vocabulary", 1)
    window = s.window * faults.get("long window", 1)
    if s.family == "gpt":
        config = GPTConfig(
            n_layers=s.layers, n_heads=2, d_model=s.width, context_length=window,
            positions=s.form or "learned", norm="layer", norm_weight=True,  # type: ignore[arg-type]
            activation="relu", bias=True, attention="formula", zero_head=False,
            dropout=s.dropout, embedding_std=0.2, init_std=None,
        )  # fmt: skip
        model: nn.Module = GPT(config, vocabulary)
        nn.init.normal_(model.head.weight, std=0.02)  # type: ignore[union-attr]
    elif s.family == "lstm":
        model = LSTM(s, vocabulary)
    elif s.family == "mlp":
        model = mlp(s)
    elif s.family == "encoder":
        model = Classifier(
            ClassifierConfig(
                n_layers=s.layers, n_heads=2, d_model=s.width, context_length=window,
                dropout=s.dropout, classes=("a", "b", "c"), attention="formula",
            ),
            vocabulary,
        )  # fmt: skip
    else:
        from transformers import GPT2Config, GPT2LMHeadModel

        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary, n_positions=window, n_embd=s.width, n_layer=s.layers,
                n_head=2, resid_pdrop=s.dropout, embd_pdrop=s.dropout, attn_pdrop=0.0,
                attn_implementation="eager", bos_token_id=0, eos_token_id=0,
                scale_attn_weights=faults.get("model") != "no scale",
            )
        )  # fmt: skip
    if faults.get("model") in BREAK:
        BREAK[faults["model"]](model)
    return model


class Broken(Attention):
    """Attention by the formula, with one mistake."""

    mistake = ""

    def forward(self, x, rotation=None, cache=None, source=None, visible=None):  # type: ignore[override]
        """As `Attention.forward`."""
        q, k, v = (
            split_heads(m(x), n)
            for m, n in ((self.q, self.n_heads), (self.k, self.n_heads), (self.v, self.n_heads))
        )
        if self.mistake == "key is the query":
            k = q
        if self.mistake == "value is the key":
            v = k
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if cache is not None:
            k, v = cache.extend(k, v)
        T, S, d = q.shape[2], k.shape[2], q.shape[-1]
        scores = q @ k.mT
        if self.mistake != "no scale":
            scores = scores / math.sqrt(d)
        if self.causal:
            later = future(T, S, q.device)
            if self.mistake == "sees itself alone":
                later = ~torch.eye(T, S, dtype=torch.bool).bool()
            if self.mistake == "sees one ahead":
                later = later.triu(2)
            low = -math.inf if self.mistake != "wrong axis" else -1e9
            scores = scores.masked_fill(later, low)
        if visible is not None and self.mistake != "padding read":
            scores = scores.masked_fill(~visible[:, None, None], -1e9)
        weights = scores.softmax({"wrong axis": -2, "over the batch": 0}.get(self.mistake, -1))
        return self.o((weights @ v).transpose(1, 2).flatten(2))


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


def _attentions(model: nn.Module, mistake: str) -> None:
    kind = type("Broken", (Broken,), {"mistake": mistake})
    for module in model.modules():
        if isinstance(module, Attention):
            module.__class__ = kind


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


def _head_times(factor: float):
    def break_(model: nn.Module) -> None:
        head: Any = getattr(model, "head", None) or getattr(model, "lm_head", None) or model[-1]  # type: ignore[index]
        if head.weight.norm() == 0:
            nn.init.normal_(head.weight)
        with torch.no_grad():
            head.weight.mul_(factor / head.weight.std() / math.sqrt(head.weight.shape[1]))

    return break_


def _untied(model: nn.Module) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())  # type: ignore[union-attr]


def _alike(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.05)


def _zero_gain(model: nn.Module) -> None:
    norms = [
        m for m in model.modules() if isinstance(m, nn.LayerNorm) or type(m).__name__ == "LayerNorm"
    ]
    for module in norms[:1]:
        nn.init.zeros_(module.weight)  # type: ignore[arg-type]
        module.weight.requires_grad_(False)  # type: ignore[union-attr]


def _dead(model: nn.Module) -> None:
    names = [m for n, m in model.named_modules() if isinstance(m, nn.Linear)
             and (n.endswith(".up") or (isinstance(model, nn.Sequential)
                                        and n in ("0", "2")))]  # fmt: skip
    for module in names:
        with torch.no_grad():
            module.bias.fill_(-30.0)


def _wide_start(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                module.weight.mul_(30)


def _tiny_start(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                module.weight.mul_(0.01)


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
    model.drop if hasattr(model, "drop") else None
    name = "drop" if hasattr(model, "drop") else "dropout"
    owner: Any = getattr(model, "encoder", model)
    if hasattr(model, "transformer"):
        owner, name = model.transformer, "drop"
    setattr(owner, name, AlwaysDropout())


BREAK: dict[str, Any] = {
    "no mask": _no_mask,
    "no positions": _no_positions,
    "no residual": _no_residual,
    "head × 30": _head_times(30.0),
    "untied": _untied,
    "all alike": _alike,
    "gain of 0": _zero_gain,
    "dead": _dead,
    "wide start": _wide_start,
    "tiny start": _tiny_start,
    "cache shifted": _shifted_cache,
    "detached": _detached,
    "rows held": _held_rows,
    "always dropout": _always_dropout,
    **{
        m: (lambda model, m=m: _attentions(model, m))
        for m in ("key is the query", "value is the key", "sees itself alone", "sees one ahead",
                  "wrong axis", "over the batch", "padding read")
    },
}  # fmt: skip
BREAK["no scale"] = lambda model: (
    None if hasattr(model, "transformer") else _attentions(model, "no scale")
)
