"""What the loss looks like around a state: how curved, how noisy, and which rates it bears."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LOWEST, HIGHEST, SWEEP = 1e-7, 10.0, 100  # rates and steps of the range test: fastai
STOP = 4.0  # times the best smoothed loss, where it ends: fastai
SMOOTH = 0.98  # of the moving average of the loss: fastai


@dataclass(frozen=True, slots=True)
class Landscape:
    """What was measured around a state; NaN: not measured.

    Attributes:
        step: of the state.
        sharpness: largest eigenvalue of the Hessian of the step's loss, for Adam of the
            preconditioned one.
        rate: the learning rate of the step.
        bound: the rate times the sharpness above which gradient descent with this momentum rises.
        noise: gradient noise scale, in examples.
        batch: examples of a step.
        steepest: the rate at which the loss fell fastest in a sweep from the first weights.
        highest: the rate at which it broke down in that sweep.
    """

    step: int
    sharpness: float = math.nan
    rate: float = math.nan
    bound: float = 2.0
    noise: float = math.nan
    batch: int = 0
    steepest: float = math.nan
    highest: float = math.nan


def sharpness(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    scales: Sequence[Tensor | float] | None = None,
    steps: int = 16,
) -> float:
    """Return the largest eigenvalue of the Hessian H of a loss, or of √C·H·√C.

    By the method of Lanczos on products with the Hessian, each twice the work of a gradient.

    Args:
        loss: computes it anew; it must be possible to differentiate it twice.
        parameters: the Hessian is in these.
        scales: the diagonal C, in the parameters' shapes, such as 1/(√v̂ + ε) of Adam; None: 1.
        steps: how many products; the result grows with them towards the eigenvalue.

    Example:
        >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> round(sharpness(lambda: (torch.tensor([3.0, 0.5]) * x * x).sum(), [x]), 3)
        6.0

    Source: Cohen et al. 2021, arXiv 2103.00065; 2022, arXiv 2207.14484 (Adam).
    """
    roots = [1.0] * len(parameters) if scales is None else [
        s.sqrt() if isinstance(s, Tensor) else math.sqrt(s) for s in scales
    ]  # fmt: skip
    with torch.enable_grad():
        grads = torch.autograd.grad(loss(), list(parameters), create_graph=True, allow_unused=True)
    used = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]
    inner, outer = [parameters[i] for i in used], [grads[i] for i in used]
    roots = [roots[i] for i in used]
    if not used:
        return 0.0

    def times(v: list[Tensor]) -> list[Tensor]:
        given = [r * x for r, x in zip(roots, v, strict=True)]
        found = torch.autograd.grad(outer, inner, given, retain_graph=True, materialize_grads=True)
        return [r * x for r, x in zip(roots, found, strict=True)]

    return _lanczos(times, inner, steps)


def _lanczos(times: Callable[[list[Tensor]], list[Tensor]], like: list[Tensor], n: int) -> float:
    generator = torch.Generator().manual_seed(0)
    v = [torch.randn(p.shape, generator=generator).to(p) for p in like]
    v = _over(v, _dot(v, v) ** 0.5)
    basis, diagonal, beside = [v], [], []
    for _ in range(min(n, sum(p.numel() for p in like))):
        w = times(basis[-1])
        diagonal.append(_dot(w, basis[-1]))
        for b in basis:  # rounding would let what was found before come back
            share = _dot(w, b)
            w = [x - share * y for x, y in zip(w, b, strict=True)]
        size = _dot(w, w) ** 0.5
        if not size > 1e-6 * max(map(abs, diagonal)):
            break
        beside.append(size)
        basis.append(_over(w, size))
    k = len(diagonal)
    beside = beside[: k - 1]
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    return float(np.linalg.eigvalsh(matrix).max()) if np.isfinite(matrix).all() else math.nan


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return sum(float((x * y).sum(dtype=torch.float64)) for x, y in zip(a, b, strict=True))


def _over(v: list[Tensor], size: float) -> list[Tensor]:
    return [x.detach() / size for x in v]


def noise_scale(gradients: Sequence[Tensor], batch: int) -> float:
    """Return the gradient noise scale B = tr(Σ)/‖G‖²: so many examples make noise and signal equal.

    From the gradients g of k batches of b examples: E‖g‖² = ‖G‖² + tr(Σ)/b, and of their mean
    E‖ḡ‖² = ‖G‖² + tr(Σ)/(kb).

    Args:
        gradients: of each batch, at the same weights, flat.
        batch: examples of each.

    Returns:
        The scale in examples; infinite where no signal is left, NaN for fewer than two batches.

    Example:
        >>> noise_scale([torch.tensor([2.0, 1.0]), torch.tensor([2.0, -1.0])], batch=1)
        0.6666666666666666

    Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
    """
    k = len(gradients)
    if k < 2:
        return math.nan
    every = torch.stack([g.double() for g in gradients])
    of_one, of_all = float(every.square().sum(1).mean()), float(every.mean(0).square().sum())
    signal = (k * of_all - of_one) / (k - 1)
    noise = (of_one - of_all) * batch * k / (k - 1)
    return noise / signal if signal > 0 else math.inf


def rate_range(step: Callable[[float], float], steps: int = SWEEP) -> tuple[float, float]:
    """Raise the rate from 1e-7 to 10 while training, and see what the loss makes of it.

    Args:
        step: trains one step at a rate, and returns the loss before it.
        steps: how many rates, evenly spread over their logarithms.

    Returns:
        The rate where the smoothed loss fell fastest, and the one where it reached four times its
        least; NaN where it never did.

    Source: Smith 2015, arXiv 1506.01186; limits as in fastai's `lr_find`.
    """
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    smooth: list[float] = []
    average, broke = 0.0, math.nan
    for i, rate in enumerate(rates):
        loss = step(float(rate))
        average = SMOOTH * average + (1 - SMOOTH) * loss
        smooth.append(average / (1 - SMOOTH ** (i + 1)))
        if not math.isfinite(loss) or smooth[-1] > STOP * min(smooth):
            broke = float(rate)
            break
    kept = [x for x in smooth if math.isfinite(x)]
    if len(kept) < 3:
        return math.nan, broke
    return float(rates[int(np.gradient(kept).argmin())]), broke
