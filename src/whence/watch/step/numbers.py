"""Small computations on gradients and copies: the same bits, how far off, finite, scaled."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_SAMPLE = 256  # numbers of an output that are kept to compare with


def copied(tensor: Tensor) -> Tensor:
    """Copy a tensor with its memory layout; whether it asks for a gradient is kept too."""
    copy = tensor.detach().clone()
    return copy.requires_grad_(tensor.requires_grad)


def sample(tensor: Tensor) -> Tensor:
    """Copy a few numbers of a tensor, spread over it; all where there are few."""
    flat = tensor.detach()
    if flat.is_sparse:
        flat = flat.coalesce().values()
    flat = flat.reshape(-1)
    return flat[:: max(1, len(flat) // _SAMPLE)].clone()


def same_bits(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors hold the same bits.

    Example:
        >>> nan = torch.tensor(float("nan"))
        >>> same_bits(nan, nan.clone()), same_bits(torch.zeros(1), -torch.zeros(1))
        (True, False)
    """
    if a is None or b is None:
        return a is b
    if a.is_sparse or b.is_sparse:
        a, b = a.to_dense(), b.to_dense()
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = a.detach().contiguous(), b.detach().contiguous()
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def how_far(a: Tensor | None, b: Tensor | None) -> float:
    """The largest difference between two tensors; infinite where they don't compare."""
    if a is None or b is None or a.shape != b.shape:
        return float("inf")
    if a.is_sparse or b.is_sparse:
        a, b = a.to_dense(), b.to_dense()
    if not a.numel():
        return 0.0
    return float((a.detach().double() - b.detach().double()).abs().max())


def norm_of(gradients: Iterable[Tensor | None]) -> tuple[float, bool]:
    """Return the norm √(Σ g²) of all gradients together, and whether they are all finite.

    Example:
        >>> norm_of([torch.tensor([3.0]), None, torch.tensor([4.0])])
        (5.0, True)
    """
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients if g is not None]
    dense = [g for g in dense if g.numel()]
    if not dense:
        return 0.0, True
    norms = torch._foreach_norm(dense)
    if len({(n.dtype, n.device) for n in norms}) > 1:
        norms = [n.to(norms[0].device, torch.float64) for n in norms]
    total = float(torch.stack(norms).double().norm())
    if torch.tensor(total).isfinite():
        return total, True
    return total, all(bool(g.isfinite().all()) for g in dense)


def factor(raw: list[Tensor], seen: list[Tensor]) -> Tensor | None:
    """Find the one number that gradients were multiplied by, to the bit; None if there is none.

    Clipping, and a GradScaler's `unscale_`, multiply all gradients by one number.

    Example:
        >>> raw = [torch.tensor([1.0, 3.0]), torch.tensor([7.0])]
        >>> float(factor(raw, [0.25 * g for g in raw]))
        0.25
    """
    sizes = [float(g.detach().abs().max()) if g.numel() else 0.0 for g in raw]
    if not sizes or not max(sizes) > 0 or max(sizes) == float("inf"):
        return None
    largest = sizes.index(max(sizes))
    place = raw[largest].detach().abs().argmax()
    ratio = seen[largest].reshape(-1)[place].double() / raw[largest].reshape(-1)[place].double()
    multiplier = ratio.float()
    up, down = torch.tensor(float("inf")).to(multiplier), torch.tensor(-float("inf")).to(multiplier)
    tries = [multiplier, multiplier.nextafter(up), multiplier.nextafter(down)]
    tries += [tries[1].nextafter(up), tries[2].nextafter(down)]
    for one in tries:
        if all(same_bits(r.detach() * one, s) for r, s in zip(raw, seen, strict=True)):
            return one
    return None
