"""What the loop does to `.grad` between backward passes and updates: clear, keep, change."""

from __future__ import annotations

import torch
from torch import Tensor


class Gradients:
    """Follows `.grad` of all parameters by its identity and its count of changes.

    Args:
        parameters: by number.
    """

    def __init__(self, parameters: list[Tensor]):
        self.parameters = parameters
        # Of each: the gradient as it was last looked at, its count of changes, and a copy if one
        # was made then.
        self._known: list[tuple[Tensor, int, Tensor | None] | None] = [None] * len(parameters)
        self._begun = True

    def begin_step(self) -> None:
        """From here on a step stands for itself: what it begins with has to be told."""
        self._begun = True

    def before_backward(self) -> tuple[dict[int, Tensor | None], bool]:
        """Tell what was done to gradients since the last look.

        Returns:
            By number: `None` where it was cleared, its value where it is another than it was or
            where a step begins with it. And whether all that there were have been cleared.
        """
        found: dict[int, Tensor | None] = {}
        had = cleared = 0
        for number, (p, known) in enumerate(zip(self.parameters, self._known, strict=True)):
            had += known is not None
            if p.grad is None:
                if known is not None:
                    found[number], cleared = None, cleared + 1
                self._known[number] = None
                continue
            same = known is not None and known[0] is p.grad and known[1] == p.grad._version
            if same and not self._begun:
                continue
            value = known[2] if same and known else None
            if value is None:
                zero = not p.grad.is_sparse and not bool(p.grad.count_nonzero())
                cleared += zero and known is not None
                value = _zeros(p.grad) if zero else p.grad.detach().clone()
            found[number] = value
            self._known[number] = (p.grad, p.grad._version, value)
        self._begun = False
        return found, bool(had) and cleared == had

    def after_backward(self) -> bool:
        """Note the gradients after a backward pass; tell whether any has changed."""
        changed = False
        for number, (p, known) in enumerate(zip(self.parameters, self._known, strict=True)):
            if p.grad is None:
                continue
            if known is None or known[0] is not p.grad or known[1] != p.grad._version:
                self._known[number] = (p.grad, p.grad._version, None)
                changed = True
        return changed

    def as_seen(self, numbers: list[int]) -> dict[int, Tensor | None]:
        """Copy the gradients that an update is going to see."""
        found: dict[int, Tensor | None] = {}
        for number in numbers:
            g = self.parameters[number].grad
            found[number] = None if g is None else g.detach().clone()
            if g is not None:
                self._known[number] = (g, g._version, found[number])
        return found

    def left(self) -> dict[int, Tensor | None]:
        """Copy the gradients that were left to an update that couldn't be seen.

        They are those of the last backward pass, also where they have been cleared since; not where
        they were overwritten.
        """
        found: dict[int, Tensor | None] = {}
        for number, (p, known) in enumerate(zip(self.parameters, self._known, strict=True)):
            g = p.grad
            if g is None and known is not None and known[0]._version == known[1]:
                g = known[0]
            found[number] = None if g is None else g.detach().clone()
        return found


def _zeros(like: Tensor) -> Tensor:
    """Zeros that take the memory of one."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand(like.shape)
