"""Who reads whom in a run's model, for a text of your own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from whence.errors import WhenceError
from whence.generate import evaluating
from whence.generate.generate import encode_prompt
from whence.models import Classifier, Seq2Seq
from whence.models.reads import reading
from whence.runs.run import Run


@dataclass(frozen=True)
class Map:
    """The attention weights of one layer.

    Attributes:
        name: the attention's, such as `blocks.0.attn`.
        reads: the tokens that read, down the rows.
        read: the tokens that are read, along the columns.
        weights: float64 [H, T, S]; each row adds up to 1.
    """

    name: str
    reads: list[str]
    read: list[str]
    weights: np.ndarray

    def evenness(self, head: int) -> float:
        """How evenly a head spreads its attention: e^entropy over the tokens it could read, 0 to 1.

        1 is perfectly even; the mean over the tokens that have a choice.
        """
        w = self.weights[head]
        choices = (self.weights > 0).any(0).sum(-1)  # [T]
        entropy = -(w * np.log(np.where(w > 0, w, 1.0))).sum(-1)
        shares = np.exp(entropy[choices > 1]) / choices[choices > 1]
        return float(shares.mean()) if len(shares) else 1.0

    def on_average(self, head: int) -> dict[str, float]:
        """What share of a head's attention goes to the first token, the one before, and itself."""
        w = self.weights[head]
        if w.shape[0] != w.shape[1] or len(w) < 2:
            return {}
        return {
            "first": float(w[1:, 0].mean()),
            "before": float(np.diagonal(w, -1).mean()),
            "itself": float(np.diagonal(w)[1:].mean()),
        }


def attention(run: Run, text: str, at: int | Literal["best", "last"] = "best") -> list[Map]:
    """Work out the attention weights of every layer of a run's model on a text.

    Args:
        run: of a model with attention.
        text: what it reads; of a model of pairs, source, tab, target.
        at: which checkpoint.

    Raises:
        WhenceError: a model without attention, an empty text, or one longer than its window.

    Example:
        >>> attention(Run.open("runs/mine"), "The cat sat")[0].weights.shape  # doctest: +SKIP
        (4, 11, 11)
    """
    model = run.model(at)
    if isinstance(model, Seq2Seq) and "\t" not in text:
        raise WhenceError(f"{text!r} isn't a pair: write source, tab, target.")
    if not text:
        raise WhenceError("there is no text to read: give a few words.")
    ids = encode_prompt(run.tokenizer, text)
    most = run.recipe.model.context_length * (2 if isinstance(model, Seq2Seq) else 1)
    if len(ids) > most:
        raise WhenceError(f"the text has {len(ids)} tokens, the model reads {most}: shorten it.")
    tokens = torch.tensor([ids])
    with evaluating(model), torch.inference_mode(), reading(model) as found:
        model.encoder(tokens) if isinstance(model, Classifier) else model(tokens)
    if not found:
        raise WhenceError(f"the model of {run.path} has no attention to look at.")
    shown = [run.tokenizer.token(i) for i in ids]
    cut = ids.index(model.config.separator) if isinstance(model, Seq2Seq) else 0
    maps = []
    for name, weights in found.items():
        reads = read = shown
        if isinstance(model, Seq2Seq):
            read = shown[cut:] if name.endswith("attn.part") else shown[:cut]
            reads = shown[:cut] if name.startswith("encoder.") else shown[cut:]
            read = reads if name.endswith("attn.part") else read
        maps.append(Map(name, reads, read, weights[0].double().numpy()))
    return maps
