"""The probability of a text, token by token: a product of conditional probabilities."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from whence.errors import WhenceError
from whence.generate import evaluating
from whence.generate.generate import device_of, encode_prompt
from whence.models import Bigram, CharMLP, NGram
from whence.models.recurrent.model import Recurrent
from whence.runs.run import Run
from whence.train.losses import bits_per_byte, perplexity

PIECE = 4096  # tokens read at once by what reads without a limit


@dataclass(frozen=True)
class Scores:
    r"""The probability of each token of a text, given all tokens before it.

    Attributes:
        tokens: as `Tokenizer.token` shows them.
        before: what comes before the first, also shown so.
        log_probabilities: ln P of each token, float64.
        n_bytes: UTF-8 bytes of the text that is predicted.

    Example:
        >>> scores = Scores(["a", "b"], "\\n", np.log([0.5, 0.25]), 2)
        >>> round(scores.probability, 6), round(scores.perplexity, 6), scores.bits_per_byte
        (0.125, 2.828427, 1.5)
    """

    tokens: list[str]
    before: str
    log_probabilities: np.ndarray
    n_bytes: int

    @cached_property
    def total(self) -> float:
        """Ln P of the text: the sum over its tokens."""
        return float(self.log_probabilities.sum())

    @property
    def probability(self) -> float:
        """P of the text, the product; 0 where it is smaller than a float can be."""
        return float(np.exp(self.total))

    @property
    def perplexity(self) -> float:
        """P^(−1/n): among how many tokens, equally likely, it had to choose on the average."""
        return perplexity(-self.total / len(self.tokens))

    @property
    def bits_per_byte(self) -> float:
        """−log₂ P for each byte of the text."""
        n = len(self.tokens)
        return bits_per_byte(-self.total / n, n, self.n_bytes)


def score(run: Run, text: str, at: int | Literal["best", "last"] = "best") -> Scores:
    """Work out the probability of a text, P(w₁ … wₙ) = Π P(wᵢ | w₀ … wᵢ₋₁).

    w₀ is a line break, as with an empty prompt (the first token where there is no line break).
    Of a pair (source, tab, target) it is P(target and its end | source). Where a text is longer
    than the model's window, windows overlap by half.

    Args:
        run: the run.
        text: a text that its tokenizer can read.
        at: which checkpoint.

    Raises:
        WhenceError: for an empty text, a character the tokenizer doesn't know, or a model that
            predicts no text.

    Example:
        >>> score(Run.open("runs/mine"), "The cat sat.").total  # doctest: +SKIP
        -21.7
    """
    return score_by(run, run.writer(at), text)


def score_by(run: Run, model: Any, text: str) -> Scores:
    """As `score`, by a model of the run that is already loaded."""
    if not text:
        raise WhenceError("there is no text to score: give a few words.")
    tokenizer = run.tokenizer
    if run.task.is_prose:
        ids = encode_prompt(tokenizer, "") + encode_prompt(tokenizer, text)
        first, n_bytes = 1, len(text.encode())
    else:
        source, tab, target = text.partition("\t")
        if not tab or not target:
            raise WhenceError(f"{text!r} isn't a pair: write source, tab, target.")
        target = target if target.endswith("\n") else target + "\n"
        head = encode_prompt(tokenizer, source + tab)
        ids, first = head + encode_prompt(tokenizer, target), len(head)
        n_bytes = len(target.encode())
    found = log_probabilities(model, ids, run.recipe.model.context_length, first)
    shown = [tokenizer.token(i) for i in ids[first:]]
    return Scores(shown, tokenizer.token(ids[first - 1]), found, n_bytes)


@torch.inference_mode()
def log_probabilities(model: Any, ids: list[int], window: int, first: int = 1) -> np.ndarray:
    """Ln P of each token from `first` on, given those before it.

    Args:
        model: tokens [B, T] → logits [B, T, V].
        ids: the tokens.
        window: how many tokens it reads at most, where it has a limit.
        first: the first token that is predicted, 1 or more.

    Returns:
        float64 [len(ids) − first].
    """
    if first > 1:  # a pair is read whole
        window = len(ids)
    elif isinstance(model, NGram | Bigram | CharMLP | Recurrent):
        window = PIECE  # what they read has no limit
    tokens = torch.tensor([ids], dtype=torch.long, device=device_of(model))
    found: list[np.ndarray] = []
    done = first
    with evaluating(model):
        while done < len(ids):
            end = min(len(ids), done + (window if done == first else max(1, window // 2)))
            start = max(0, end - 1 - window)
            logits = model(tokens[:, start : end - 1])[0, done - 1 - start :]
            logp = logits.double().log_softmax(-1)
            picked = logp.gather(1, tokens[0, done:end, None])[:, 0]
            found.append(picked.cpu().numpy())
            done = end
    return np.concatenate(found)
