"""Losses of torch.nn, with their options, and some of papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, applied, draw, function

N, C = 6, 5


def _on(make: Callable[..., nn.Module], *inputs: Callable[[], Any], **options: Any) -> Kind:
    return lambda: function(make(**options), *(one() for one in inputs))


def _x(*shape: int, **limits: Any) -> Callable[[], Tensor]:
    return lambda: draw(*shape, **limits)


def _target(*shape: int, **limits: Any) -> Callable[[], Tensor]:
    return lambda: draw(*shape, **limits).detach()


def _classes(*shape: int, n: int = C) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, n, shape)


def _signs(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, 2, shape) * 2.0 - 1


def _bits(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, 2, shape).float()


def _ctc(**options: Any) -> Step:
    x = draw(12, 3, C)
    targets, lengths = torch.randint(1, C, (3, 4)), torch.tensor([4, 3, 2])
    loss = nn.CTCLoss(**options)
    return function(
        lambda y: loss(y.log_softmax(-1), targets, torch.tensor([12, 10, 8]), lengths), x
    )


def _adaptive() -> Step:
    loss = nn.AdaptiveLogSoftmaxWithLoss(6, 12, cutoffs=[4, 8])
    x, y = draw(N, 6), torch.randint(0, 12, (N,))
    return function(lambda x: loss(x, y).loss, x)


def _focal(x: Tensor) -> Tensor:
    y = (torch.arange(x.numel()).view_as(x) % 2).to(x.dtype)
    p = torch.sigmoid(x)
    weight = (1 - (p * y + (1 - p) * (1 - y))) ** 2
    return (weight * F.binary_cross_entropy_with_logits(x, y, reduction="none")).mean()


def _dice(x: Tensor) -> Tensor:
    y, p = (torch.arange(x.numel()).view_as(x) % 2).to(x.dtype), x.sigmoid()
    return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())


def _contrastive(a: Tensor, b: Tensor) -> Tensor:
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.1
    same = torch.arange(len(a))
    return (F.cross_entropy(scores, same) + F.cross_entropy(scores.T, same)) / 2


def _preference(a: Tensor, b: Tensor) -> Tensor:
    return -F.logsigmoid(0.1 * (a.log_softmax(-1)[:, 0] - b.log_softmax(-1)[:, 0])).mean()


def _clipped_policy(new: Tensor, old: Tensor) -> Tensor:
    ratio, gain = (new - old.detach()).exp(), old.detach().sin()
    return -torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()


def _distilled(x: Tensor, y: Tensor) -> Tensor:
    return F.kl_div((x / 2).log_softmax(-1), (y.detach() / 2).softmax(-1), reduction="batchmean")


def _variational(mean: Tensor, log: Tensor) -> Tensor:
    return -0.5 * (1 + log - mean**2 - log.exp()).sum(1).mean()


def _barlow(a: Tensor, b: Tensor) -> Tensor:
    a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))
    cross = a.T @ b / len(a)
    return (cross.diagonal() - 1).square().sum() + 0.01 * cross.triu(1).square().sum()


_HALF = torch.linspace(0.5, 1.5, C)

KINDS: dict[str, Kind] = {
    "L1Loss": _on(nn.L1Loss, _x(N, C), _target(N, C)),
    "MSELoss": _on(nn.MSELoss, _x(N, C), _target(N, C)),
    "MSELoss, summed": _on(nn.MSELoss, _x(N, C), _target(N, C), reduction="sum"),
    "MSELoss of two predictions": _on(nn.MSELoss, _x(N, C), _x(N, C)),
    "HuberLoss": _on(nn.HuberLoss, _x(N, C), _target(N, C), delta=0.7),
    "HuberLoss, none": _on(nn.HuberLoss, _x(N, C), _target(N, C), reduction="none"),
    "SmoothL1Loss": _on(nn.SmoothL1Loss, _x(N, C), _target(N, C), beta=0.5),
    "SmoothL1Loss, summed": _on(nn.SmoothL1Loss, _x(N, C), _target(N, C), reduction="sum"),
    "CrossEntropyLoss": _on(nn.CrossEntropyLoss, _x(N, C), _classes(N)),
    "CrossEntropyLoss, weighted": _on(nn.CrossEntropyLoss, _x(N, C), _classes(N), weight=_HALF),
    "CrossEntropyLoss, weighted, none": _on(
        nn.CrossEntropyLoss, _x(N, C), _classes(N), weight=_HALF, reduction="none"
    ),
    "CrossEntropyLoss, smoothed": _on(
        nn.CrossEntropyLoss, _x(N, C), _classes(N), weight=_HALF, label_smoothing=0.1
    ),
    "CrossEntropyLoss, ignoring": _on(
        nn.CrossEntropyLoss, _x(N, C), _classes(N), ignore_index=2, reduction="sum"
    ),
    "CrossEntropyLoss of probabilities": _on(
        nn.CrossEntropyLoss, _x(N, C), lambda: torch.rand(N, C).softmax(-1)
    ),
    "CrossEntropyLoss over an image": _on(
        nn.CrossEntropyLoss, _x(2, C, 3, 4), _classes(2, 3, 4), weight=_HALF
    ),
    "NLLLoss": _on(nn.NLLLoss, _x(N, C), _classes(N)),
    "NLLLoss over an image": _on(nn.NLLLoss, _x(2, C, 3, 4), _classes(2, 3, 4)),
    "NLLLoss over an image, none": _on(
        nn.NLLLoss, _x(2, C, 3, 4), _classes(2, 3, 4), reduction="none", weight=_HALF
    ),
    "BCELoss": _on(nn.BCELoss, _x(N, C, low=0.1, high=0.9), _bits(N, C)),
    "BCELoss, weighted": _on(nn.BCELoss, _x(N, C, low=0.1, high=0.9), _bits(N, C), weight=_HALF),
    "BCEWithLogitsLoss": _on(nn.BCEWithLogitsLoss, _x(N, C), _bits(N, C)),
    "BCEWithLogitsLoss, weighted": _on(nn.BCEWithLogitsLoss, _x(N, C), _bits(N, C), weight=_HALF),
    "BCEWithLogitsLoss, pos_weight": _on(
        nn.BCEWithLogitsLoss, _x(N, C), _bits(N, C), pos_weight=_HALF, weight=_HALF
    ),
    "BCEWithLogitsLoss, none": _on(
        nn.BCEWithLogitsLoss, _x(N, C), _bits(N, C), pos_weight=_HALF, reduction="none"
    ),
    "KLDivLoss": _on(
        nn.KLDivLoss, _x(N, C), _target(N, C, low=0.1, high=0.9), reduction="batchmean"
    ),
    "KLDivLoss of logarithms": _on(nn.KLDivLoss, _x(N, C), _target(N, C), log_target=True),
    "PoissonNLLLoss": _on(nn.PoissonNLLLoss, _x(N, C), _target(N, C, low=0.0, high=4.0), full=True),
    "GaussianNLLLoss": _on(
        nn.GaussianNLLLoss, _x(N, C), _target(N, C), _x(N, C, low=0.5, high=2.0)
    ),
    "SoftMarginLoss": _on(nn.SoftMarginLoss, _x(N, C), _signs(N, C)),
    "HingeEmbeddingLoss": _on(nn.HingeEmbeddingLoss, _x(N, C), _signs(N, C)),
    "MarginRankingLoss": _on(nn.MarginRankingLoss, _x(N), _x(N), _signs(N), margin=0.3),
    "MultiMarginLoss": _on(nn.MultiMarginLoss, _x(N, C), _classes(N)),
    "MultiMarginLoss, squared": _on(
        nn.MultiMarginLoss, _x(N, C), _classes(N), p=2, weight=_HALF, reduction="sum"
    ),
    "MultiLabelMarginLoss": _on(
        nn.MultiLabelMarginLoss, _x(2, 4), lambda: torch.tensor([[3, 0, -1, 1], [1, -1, 2, 0]])
    ),
    "MultiLabelSoftMarginLoss": _on(nn.MultiLabelSoftMarginLoss, _x(N, C), _bits(N, C)),
    "CosineEmbeddingLoss": _on(nn.CosineEmbeddingLoss, _x(N, C), _x(N, C), _signs(N), margin=0.2),
    "TripletMarginLoss": _on(nn.TripletMarginLoss, _x(N, C), _x(N, C), _x(N, C)),
    "CTCLoss": _ctc,
    "CTCLoss, none": lambda: _ctc(reduction="none", zero_infinity=True),
    "AdaptiveLogSoftmaxWithLoss": _adaptive,
    "CosineSimilarity": _on(nn.CosineSimilarity, _x(N, C), _x(N, C)),
    "PairwiseDistance": _on(nn.PairwiseDistance, _x(N, C), _x(N, C)),
    "PairwiseDistance, p 1": _on(nn.PairwiseDistance, _x(N, C), _x(N, C), p=1.0),
    "focal": applied(_focal, (N, C)),
    "dice": applied(_dice, (N, C)),
    "contrastive": applied(_contrastive, (N, C), (N, C)),
    "preference": applied(_preference, (N, C), (N, C)),
    "clipped policy": applied(_clipped_policy, (N,), (N,)),
    "distillation": applied(_distilled, (N, C), (N, C)),
    "variational": applied(_variational, (N, C), (N, C)),
    "Barlow twins": applied(_barlow, (N, C), (N, C)),
    "log-cosh": applied(lambda x, y: (x - y).cosh().log().mean(), (N, C), (N, C)),
    "quantile": applied(lambda x, y: torch.max(0.9 * (x - y), -0.1 * (x - y)).mean(), (N,), (N,)),
    "entropy": applied(lambda x: torch.special.entr(x.softmax(-1)).sum(), (N, C)),
    "maximum mean discrepancy": applied(
        lambda x, y: torch.exp(-torch.cdist(x, y).square()).mean(), (N, C), (N, C)
    ),
    "z-loss": applied(lambda x: x.logsumexp(-1).square().mean(), (N, C)),
}
