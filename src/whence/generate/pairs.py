"""Decoding of an encoder–decoder: greedy for many sources at once, beam search for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.generate.generate import device_of
from whence.generate.inference import evaluating
from whence.generate.reader import CachedLanguageModel, LanguageModel
from whence.models.seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Hypothesis:
    """One way to go on.

    Attributes:
        tokens: what was written, without the end.
        log_probability: Σ ln P of the tokens and the end.
        score: log_probability / ((5 + n) / 6)^α for n tokens, the end included.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def greedy_answers(
    model: Seq2Seq, sources: Sequence[np.ndarray], batch_size: int = 256
) -> list[list[int]]:
    """Write a target for each source, the likeliest token each time, until a line break.

    Args:
        model: the encoder–decoder.
        sources: ids of each source, without its tab.
        batch_size: sources decoded together.

    Returns:
        The ids of each target, without its line break.

    Raises:
        WhenceError: a source is longer than the model reads.
    """
    answers: list[list[int]] = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(sources), batch_size):
            answers += _greedy(model, sources[start : start + batch_size])
    return answers


def _greedy(model: Seq2Seq, sources: Sequence[np.ndarray]) -> list[list[int]]:
    c = model.config
    device = model.head.weight.device
    S = max(1, *(len(source) for source in sources))
    rows = torch.full((len(sources), S), c.end, device=device)
    visible = torch.zeros(len(sources), S, dtype=torch.bool, device=device)
    for row, source in enumerate(sources):
        rows[row, : len(source)] = torch.from_numpy(np.asarray(source).astype(np.int64))
        visible[row, : max(1, len(source))] = True
    memory = model.encode(rows, visible)
    written = torch.full((len(sources), 1), c.separator, device=device)
    done = torch.zeros(len(sources), dtype=torch.bool, device=device)
    while written.shape[1] < c.context_length and not done.all():
        token = model.decode(written, memory, visible)[:, -1].argmax(-1)
        written = torch.cat((written, token.where(~done, c.end)[:, None]), dim=1)
        done |= token == c.end
    return [_until(row, c.end) for row in written[:, 1:].tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def exact_match(model: Seq2Seq, pairs: Sequence[np.ndarray]) -> float:
    """Return the share of pairs whose target the model writes without a mistake.

    Args:
        model: the encoder–decoder.
        pairs: ids of source, tab, target and line break.
    """
    c = model.config
    cuts = [int(np.argmax(pair == c.separator)) for pair in pairs]
    sources = [pair[:cut] for pair, cut in zip(pairs, cuts, strict=True)]
    answers = greedy_answers(model, sources)
    right = sum(
        answer == pair[cut + 1 : -1].tolist()
        for answer, pair, cut in zip(answers, pairs, cuts, strict=True)
    )
    return right / max(1, len(pairs))


def beam_search(
    model: LanguageModel | CachedLanguageModel,
    prompt: Sequence[int],
    end: int,
    *,
    width: int = 4,
    max_tokens: int = 100,
    length_penalty: float = 0.6,
) -> list[Hypothesis]:
    """Find likely ways to go on, keeping the `width` best beginnings at each token.

    Greedy decoding is a width of 1. A finished hypothesis is ranked by
    `Σ ln P / ((5 + n) / 6)^α`, so that short ones aren't favoured for being short.

    Args:
        model: tokens [B, T] → logits [B, T, V].
        prompt: ids to go on from, such as a source and its tab.
        end: the id that finishes a hypothesis.
        width: how many beginnings are kept.
        max_tokens: at most so many tokens are written; what isn't finished then is left out
            unless nothing is.
        length_penalty: α.

    Returns:
        Up to `width` hypotheses, the best first.

    Raises:
        WhenceError: the width isn't positive, or the prompt is empty.

    Source:
        The penalty: Wu et al., "Google's Neural Machine Translation System", 2016, equation 14.
    """
    if width < 1:
        raise WhenceError(f"the beam is {width} wide: it keeps 1 beginning or more.")
    if not len(prompt):
        raise WhenceError("there is nothing to continue: give a prompt.")
    finished: list[Hypothesis] = []
    predict: Any = model  # a cache would have to be sorted again at each token
    device = device_of(model)
    rows = torch.tensor([[int(i) for i in prompt]], device=device)  # [k, T]
    sums = torch.zeros(1, device=device)  # [k]
    with evaluating(model), torch.inference_mode():
        for n in range(1, max_tokens + 1):
            scores = sums[:, None] + predict(rows)[:, -1].float().log_softmax(-1)  # [k, V]
            best = scores.flatten().topk(min(2 * width, scores.numel()))
            row, token = best.indices // scores.shape[1], best.indices % scores.shape[1]
            ends = token == end
            for i in ends.nonzero().flatten().tolist():
                if i < width:
                    tokens = rows[row[i], len(prompt) :]
                    finished.append(_finish(tokens, best.values[i], n, length_penalty))
            kept = (~ends).nonzero().flatten()[:width]
            rows = torch.cat((rows[row[kept]], token[kept, None]), dim=1)
            sums = best.values[kept]
            if len(finished) >= width or not len(kept):
                break
    if not finished:
        finished = [
            _finish(r[len(prompt) :], s, len(r) - len(prompt), length_penalty)
            for r, s in zip(rows, sums, strict=True)
        ]
    return sorted(finished, key=lambda h: -h.score)[:width]


def _finish(tokens: Tensor, total: Tensor, n: int, penalty: float) -> Hypothesis:
    log_probability = float(total)
    score = log_probability / ((5 + n) / 6) ** penalty
    return Hypothesis(tuple(tokens.tolist()), log_probability, score)
