"""Losses: squared error for numbers, cross-entropy for classes and tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean over all elements of `(prediction − target)²`.

    Args:
        prediction: any shape.
        target: the same shape.

    Example:
        >>> mean_squared_error(torch.tensor([300.0]), torch.tensor([580.0])).item()
        78400.0

    Formula: 1/n · Σ (prediction − target)².
    """
    return (prediction - target).square().mean()


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean of `−y·ln σ(z) − (1−y)·ln(1−σ(z))`, in nats, written so as not to overflow.

    `−ln σ(z) = softplus(−z)`, so the loss of one example is `softplus(z) − y·z`.

    Args:
        logits: z, any shape.
        target: y between 0 and 1, the same shape.

    Example:
        >>> z = torch.tensor([0.7]).logit()
        >>> round(binary_cross_entropy(z, torch.ones(1)).item(), 3)
        0.357
    """
    return (F.softplus(logits) - target * logits).mean()


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean of `−ln softmax(logits)[target]` over the counted targets, in nats.

    Args:
        logits: [..., V], in any precision; computed in float32 or better.
        targets: [...], class or token numbers; −100 marks what isn't counted.
        label_smoothing: ε; a share ε of each target is spread evenly over all V classes
            (Szegedy et al. 2016).

    Returns:
        A scalar; NaN where no target is counted.

    Example:
        >>> logits = torch.tensor([2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10.0])
        >>> round(cross_entropy(logits, torch.tensor(0)).item(), 6)
        1.901281
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), label_smoothing=label_smoothing
    )


def next_token_loss(model, part, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of a language model's next-token predictions on a part of a batch.

    Dropout draws from the part's own seed, so that the loss is a function of the parameters and
    the part alone and can be had again at any time.

    Args:
        model: tokens [B, T] → logits [B, T, V].
        part: has `inputs` [B, T], `targets` [B, T] and `seed`.
        label_smoothing: see `cross_entropy`.

    Loss = −1/(B·T) · Σ ln P(target | tokens before it).

    Example:
        >>> from types import SimpleNamespace
        >>> ids = torch.tensor([[0, 1]])
        >>> part = SimpleNamespace(inputs=ids, targets=ids, seed=0)
        >>> round(next_token_loss(lambda tokens: torch.zeros(1, 2, 4), part).item(), 4)  # ln 4
        1.3863
    """
    seed_dropout(part)
    return cross_entropy(model(part.inputs), part.targets, label_smoothing)


def seed_dropout(part) -> None:
    """Seed PyTorch's generator, which dropout draws from, with a part's own number.

    Args:
        part: has `inputs` and `seed`.

    mask = f(seed): the same part gets the same mask whenever it is read.

    Example:
        >>> from types import SimpleNamespace
        >>> part = SimpleNamespace(inputs=torch.zeros(1), seed=7)
        >>> seed_dropout(part)
        >>> first = torch.rand(1)
        >>> seed_dropout(part)
        >>> torch.equal(torch.rand(1), first)
        True
    """
    if part.inputs.device.type == "cpu":
        torch.default_generator.manual_seed(part.seed)
    else:  # looks for every kind of device there could be, which takes a while
        torch.manual_seed(part.seed)


def perplexity(loss: float) -> float:
    """Return PPL = e^loss: how many equally likely tokens would be as hard to predict.

    Example:
        >>> round(perplexity(2.941226 / 4), 6)
        2.086121
    """
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, n_tokens: int, n_bytes: int) -> float:
    """Return a loss in nats per token as bits per byte of text: `loss/ln 2 · tokens/bytes`.

    Unlike the loss per token it can be compared between tokenizers, and with a compressor's
    output: 8 is no compression.

    Example:
        >>> round(bits_per_byte(math.log(2), n_tokens=100, n_bytes=400), 6)
        0.25
    """
    return loss / math.log(2) * n_tokens / n_bytes
