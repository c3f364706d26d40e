"""The loss on all of a text, each token counted once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whence.errors import WhenceError
from whence.train.losses import bits_per_byte, perplexity


@dataclass(frozen=True)
class Evaluation:
    """What a model's predictions of a text cost.

    Attributes:
        loss: mean negative log-likelihood, nats per token.
        n_tokens: how many tokens were predicted.
        n_bytes: UTF-8 bytes those tokens stand for.
        n_unknown: how many of them stand for a word that the tokenizer doesn't know. Their spelling
            is free here, which flatters bits per byte.
        left_out: characters that the tokenizer has never seen, and how often each came. They can't
            be predicted, so the text is measured without them.
        exact_match: share of pairs whose target the model writes without a mistake; None where
            the text doesn't consist of pairs.

    Example:
        >>> import math
        >>> Evaluation(loss=math.log(4), n_tokens=100, n_bytes=100).bits_per_byte
        2.0
    """

    loss: float
    n_tokens: int
    n_bytes: int
    exact_match: float | None = None
    n_unknown: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def perplexity(self) -> float:
        """`e^loss`, per token."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits, for each byte of text."""
        return bits_per_byte(self.loss, self.n_tokens, self.n_bytes)


def windows(n_tokens: int, length: int, stride: int) -> Iterator[tuple[int, int]]:
    """Cut a text in windows so that each token but the first is predicted exactly once.

    Yields:
        (start, new): a window's first input, and how many of its last predictions are new.

    Example:
        >>> list(windows(n_tokens=8, length=4, stride=2))
        [(0, 4), (2, 2), (3, 1)]
    """
    done = 0
    while done < n_tokens - 1:
        new = min(length if done == 0 else stride, n_tokens - 1 - done)
        done += new
        yield max(0, done - length), new


def evenly(n: int, k: int) -> np.ndarray:
    """Choose k of n places, spread evenly; always the same ones.

    Returns:
        int64 [min(k, n)], in order, each in the middle of its share of the n.

    Example:
        >>> evenly(9, 3).tolist()
        [1, 4, 7]
    """
    k = min(k, n)
    return (2 * np.arange(k, dtype=np.int64) + 1) * n // (2 * max(k, 1))


def spread(n_tokens: int, length: int, at_most: int) -> tuple[np.ndarray, int]:
    """Choose windows of a text for a measurement of a part of it, spread over all of it.

    Its beginning alone may be easier or harder than the rest.

    Args:
        n_tokens: of the text.
        length: of a window, in tokens predicted.
        at_most: predict at most so many tokens.

    Returns:
        (the first input of each window, how many tokens each predicts): adjacent windows of the
        text, some left out between them.

    Example:
        >>> starts, length = spread(n_tokens=101, length=10, at_most=30)
        >>> starts.tolist(), length
        ([10, 50, 80], 10)
    """
    length = max(1, min(length, at_most, n_tokens - 1))
    return evenly((n_tokens - 1) // length, max(1, at_most // length)) * length, length


# Called between the batches of a measurement with how many are done, of how many; it may raise.
Progress = Callable[[int, int], None]
MOST_LOGITS = (
    1 << 22
)  # numbers in the logits of a batch: memory that is used again, not mapped again


def no_progress(done: int, total: int) -> None:
    """Report to nobody.

    Args:
        done: so many parts.
        total: of so many.

    Example:
        >>> no_progress(1, 2)
    """


@torch.inference_mode()
def evaluate(
    model: Callable[[Tensor], Tensor],
    tokens: np.ndarray,
    *,
    context_length: int,
    n_bytes: int,
    stride: int | None = None,
    starts: np.ndarray | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: Callable[[], AbstractContextManager] = nullcontext,
    vocab_size: int = 0,
    each: Progress = no_progress,
) -> Evaluation:
    """Measure the loss of a model on every token of a text but the first, each counted once.

    With `starts` only the tokens of those windows are predicted; see `spread`.

    Windows overlap where `stride` is shorter than the context: a window's first tokens are then
    context only, so that each prediction has at least `context_length − stride` tokens before it.

    Args:
        model: tokens [B, T] → logits [B, T, V]. Its training mode (dropout) is put back after.
        tokens: [N], token numbers.
        context_length: T, the longest window.
        n_bytes: bytes that the predicted tokens stand for.
        stride: how far a window moves on; None: T, windows side by side.
        starts: the first input of each window of T tokens to measure; None: all of the text.
        batch_size: windows computed together; None: up to 64, of 8,192 tokens in all, and fewer
            where the vocabulary is large.
        device: where the model is.
        precision: a context such as autocast, made again for each batch.
        vocab_size: V, where it is known.
        each: called between batches with how far the measurement is; what it raises ends it.

    Raises:
        WhenceError: for fewer than two tokens.

    Example:
        >>> uniform = lambda tokens: torch.zeros(*tokens.shape, 4)
        >>> result = evaluate(uniform, np.array([0, 1, 2, 3]), context_length=2, n_bytes=3)
        >>> round(result.bits_per_byte, 6)
        2.0
    """
    if len(tokens) < 2:
        raise WhenceError(
            f"the text has {len(tokens)} token(s): at least 2 are needed to predict one."
        )
    if batch_size is None:
        at_once = min(8192, MOST_LOGITS // max(vocab_size, 1))
        batch_size = max(1, min(64, at_once // context_length))
    step = stride or context_length
    if starts is None:
        n, n_windows = len(tokens) - 1, 1 + max(0, -(-(len(tokens) - 1 - context_length) // step))
        places = windows(len(tokens), context_length, step)
    else:
        n, n_windows = context_length * len(starts), len(starts)
        places = ((start, context_length) for start in starts.tolist())
    n_batches = -(-n_windows // batch_size)
    total = torch.zeros((), dtype=torch.float64)
    module = model if isinstance(model, torch.nn.Module) else torch.nn.Module()
    was_training = module.training
    module.eval()
    try:
        for done, batch in enumerate(_batched(tokens, context_length, places, batch_size)):
            each(done, n_batches)
            inputs, targets = (t.to(device) for t in batch)
            with precision():
                logits = model(inputs)
            losses = F.cross_entropy(
                logits.flatten(0, 1).float(), targets.flatten(), reduction="sum"
            )
            total += losses.double().cpu()
    finally:
        module.train(was_training)
    return Evaluation(total.item() / n, n, n_bytes)


@torch.inference_mode()
def evaluate_parts(
    model: torch.nn.Module,
    parts: Iterable[Any],
    *,
    n_bytes: int,
    precision: Callable[[], AbstractContextManager] = nullcontext,
    each: Progress = no_progress,
) -> Evaluation:
    """Measure the loss of a model on the counted targets of some parts of batches.

    Args:
        model: tokens [B, T] → logits [B, T, V]. Its training mode is put back after.
        parts: each has `inputs` and `targets`, −100 where a target isn't counted.
        n_bytes: bytes that the counted targets stand for.
        precision: a context such as autocast, made again for each part.
        each: called between parts with how far the measurement is; what it raises ends it.

    Returns:
        The mean loss of the counted targets, in nats per token.

    Example:
        >>> from types import SimpleNamespace
        >>> class Uniform(torch.nn.Module):
        ...     def forward(self, tokens):
        ...         return torch.zeros(*tokens.shape, 4)
        >>> tokens, targets = torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, -100]])
        >>> part = SimpleNamespace(inputs=tokens, targets=targets)
        >>> found = evaluate_parts(Uniform(), [part], n_bytes=2)
        >>> found.n_tokens, round(found.bits_per_byte, 3)
        (2, 2.0)
    """
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        several = list(parts)
        for done, part in enumerate(several):
            each(done, len(several))
            with precision():
                logits = model(part.inputs)
            flat = logits.flatten(0, 1).float()
            total += F.cross_entropy(flat, part.targets.flatten(), reduction="sum").double().item()
            count += int((part.targets >= 0).sum())
    finally:
        model.train(was_training)
    return Evaluation(total / max(1, count), count, n_bytes)


@torch.inference_mode()
def window_losses(model: Any, rows: np.ndarray) -> np.ndarray:
    """Return the loss at each place of windows that are read each from its start.

    Args:
        model: tokens [B, T] → logits [B, T, V]. Its training mode is put back after.
        rows: [N, T + 1], token numbers.

    Returns:
        Nats, float64 [N, T].

    Example:
        >>> uniform = lambda tokens: torch.zeros(*tokens.shape, 4)
        >>> window_losses(uniform, np.array([[0, 1, 2]])).round(6).tolist()
        [[1.386294, 1.386294]]
    """
    module = model if isinstance(model, torch.nn.Module) else torch.nn.Module()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_training, found = module.training, []
    size = max(1, 8192 // rows.shape[1])
    module.eval()
    try:
        for start in range(0, len(rows), size):
            part = torch.from_numpy(rows[start : start + size].astype(np.int64)).to(device)
            logits = model(part[:, :-1]).float()
            losses = F.cross_entropy(logits.mT, part[:, 1:], reduction="none")
            found.append(losses.double().cpu().numpy())
    finally:
        module.train(was_training)
    return np.concatenate(found)


def _batched(
    tokens: np.ndarray, length: int, places: Iterable[tuple[int, int]], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    rows: list[tuple[Tensor, Tensor]] = []
    for start, new in places:
        piece = torch.from_numpy(np.asarray(tokens[start : start + length + 1]).astype(np.int64))
        inputs, targets = piece[:-1], piece[1:].clone()
        targets[: len(targets) - new] = -100
        if rows and (len(rows) == batch_size or len(rows[0][0]) != len(inputs)):
            yield _stack(rows)
            rows = []
        rows.append((inputs, targets))
    yield _stack(rows)


def _stack(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])
