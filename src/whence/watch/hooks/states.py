"""What changes in a model without its optimizer: buffers, other tensors, weights set by hand."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from whence.watch.step.world import World

_SMALL = 1 << 14  # numbers


class States:
    """Copies tensors that modules keep, and parameters that the loop has written to.

    Args:
        world: what is watched.
    """

    def __init__(self, world: World):
        self.world = world
        self._kept: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._versions = [p._version for p in world.parameters]

    def of(self, i: int) -> dict[int, Tensor]:
        """Copy the tensors that a model keeps; a large one that hasn't changed isn't copied again.

        Batch norms write their statistics without counting the change: small ones are copied.
        """
        state = {}
        for number in self.world.places_of[i]:
            module, name = self.world.places[number]
            tensor = getattr(module, name, None)
            if not isinstance(tensor, Tensor):
                continue
            known = self._kept.get(number)
            same = known is not None and known[0] is tensor and known[1] == tensor._version
            if known is None or not same or tensor.numel() <= _SMALL:
                known = self._kept[number] = (tensor, tensor._version, tensor.detach().clone())
            state[number] = known[2]
        return state

    def moved(self) -> dict[int, Tensor]:
        """Copy parameters that something other than an optimizer has changed."""
        moved = {}
        for number, p in enumerate(self.world.parameters):
            if p._version != self._versions[number]:
                self._versions[number] = p._version
                moved[number] = p.detach().clone()
        return moved

    def updated(self, numbers: Iterable[int]) -> None:
        """Take note that an optimizer has changed these."""
        for number in numbers:
            self._versions[number] = self.world.parameters[number]._version
