"""How the probability of each token of a text grew while a model learned."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from whence.errors import WhenceError
from whence.generate import evaluating
from whence.generate.generate import encode_prompt
from whence.runs.run import Run
from whence.runs.tasks.labels import Labels


@dataclass(frozen=True)
class Growth:
    """P(token | the text before it) of each token of a text, at some steps of a run.

    Attributes:
        tokens: as `Tokenizer.token` shows them.
        before: what comes before the first, also shown so.
        steps: the states, each before the step of this number.
        probabilities: float64 [S, T], by step and token.
        left_out: how many tokens at the text's end the model can't read at once.
    """

    tokens: list[str]
    before: str
    steps: list[int]
    probabilities: np.ndarray
    left_out: int


def growth(
    run: Run, text: str, most: int = 40, known: dict[int, np.ndarray] | None = None
) -> Growth:
    """Measure the probability of each token of a text at the checkpoints of a run.

    Pᵢ = P(wᵢ | the text up to wᵢ as a prompt) = softmax(logits)ᵢ, just what
    `whence.generate.generate` draws from after that prompt; the first token's is that after an
    empty prompt, which stands for a line break. Of a pair (source, tab, target) it is that of the
    target's tokens.

    Args:
        run: the run.
        text: a text that its tokenizer can read.
        most: at so many states at most, spread evenly over those there are: the first weights
            (but for a fork, which hasn't them) and each checkpoint.
        known: rows of before, by step, which are taken from here; new ones are put into it.

    Raises:
        WhenceError: for an empty text, a character the tokenizer doesn't know, a counted model, or
            a run that has no checkpoint yet.

    Example:
        >>> growth(Run.open("runs/mine"), "Once upon").probabilities[-1]  # doctest: +SKIP
    """
    if not text:
        raise WhenceError("there is no text to follow: give a few words.")
    run.refuse_counted()
    if isinstance(run.task, Labels):
        raise WhenceError(f"{run.path} is a classifier: it doesn't predict tokens.")
    tokenizer, length = run.tokenizer, run.recipe.model.context_length
    if run.task.is_prose:
        ids = encode_prompt(tokenizer, text)
        first, kept = len(tokenizer.beginning), ids[: length + 1]
    else:
        source, tab, target = text.partition("\t")
        if not tab or not target:
            raise WhenceError(f"{text!r} isn't a pair: write source, tab, target.")
        first, ids = len(encode_prompt(tokenizer, source + tab)), encode_prompt(tokenizer, text)
        kept = ids[: first + length]
    before = kept[:first] or encode_prompt(tokenizer, "")
    steps = _spread([*([] if run.origin else [0]), *run.checkpoints], most)
    if not steps:
        raise WhenceError(f"{run.path} has no checkpoint yet: train it first.")
    rows = {} if known is None else known
    for step in steps:
        if step not in rows:
            rows[step] = _probabilities(run.model(step), kept, before, first)
    return Growth(
        [tokenizer.token(i) for i in kept[first:]],
        tokenizer.token(before[-1]),
        steps,
        np.stack([rows[step] for step in steps]),
        len(ids) - len(kept),
    )


def _spread(steps: list[int], most: int) -> list[int]:
    if len(steps) <= most:
        return steps
    places = np.linspace(0, len(steps) - 1, max(1, most)).round().astype(int)
    return [steps[i] for i in sorted(set(places.tolist()))]


@torch.inference_mode()
def _probabilities(model: nn.Module, ids: list[int], before: list[int], first: int) -> np.ndarray:
    """P of each token from `first` on; the very first one follows an empty prompt."""
    with evaluating(model):
        rows = [_next(model, ids[:-1])[max(0, first - 1) :]] if len(ids) > 1 else []
        if first == 0:
            rows.insert(0, _next(model, before)[-1:])
    wanted = torch.tensor(ids[first:])
    return torch.cat(rows).gather(-1, wanted[:, None])[:, 0].numpy()


def _next(model: nn.Module, ids: list[int]) -> torch.Tensor:
    """P of what comes after each of the tokens, [T, V]."""
    return model(torch.tensor([ids], dtype=torch.long))[0].double().softmax(-1)
