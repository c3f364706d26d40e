"""Five kinds of small models, whole or with a part that is broken on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks.faults.broken import BREAK
from whence.models import GPT, ClassifierConfig, GPTConfig
from whence.models.seq2seq.encoder import Classifier

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
