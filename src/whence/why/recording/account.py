"""The memory that a trace takes: counted while it grows, and foreseen before anything changes."""

from __future__ import annotations

from collections.abc import Callable

from whence.errors import WhenceError, in_bytes


class MemoryLimitError(WhenceError):
    """The trace would need more memory than it may have."""


class Account:
    """Bytes that the trace of one step keeps.

    Args:
        budget: bytes that may be kept; `None` for no limit.
        tell: is called with how many bytes the trace will keep, once the forward pass is done.
        moving: an optimizer runs in the step.

    Attributes:
        nbytes: bytes kept so far.
        trainable: bytes of the parameters.
        moved: bytes of these and of the optimizer's tensors.
    """

    def __init__(self, budget: int | None, tell: Callable[[int], None] | None, moving: bool):
        self.budget, self.tell, self.moving = budget, tell, moving
        self.nbytes = self.trainable = self.moved = 0

    def pay(self, nbytes: int) -> None:
        """Count some bytes more.

        Raises:
            MemoryLimitError: they are too many.
        """
        self.nbytes += nbytes
        if self.budget is not None and self.nbytes > self.budget:
            self._refuse(self.nbytes, "already keeps")

    def foresee(self, outside: int) -> None:
        """Say how much the whole step will need, and refuse before anything has been changed.

        A backward pass makes about as much as the forward pass did, and a gradient for each
        parameter. An update replaces the parameters and the optimizer's tensors, which are kept
        before and after, and passes through some more tensors of the parameters' size.

        Args:
            outside: bytes of what was there before the step.

        Raises:
            MemoryLimitError: it is more than there is.
        """
        need = self.nbytes + (self.nbytes - outside) + self.trainable
        need += (2 * self.moved + 7 * self.trainable) if self.moving else 0
        if self.tell is not None:
            self.tell(need)
        if self.budget is not None and need > self.budget:
            self._refuse(need, "would keep about")

    def _refuse(self, need: int, words: str) -> None:
        assert self.budget is not None
        raise MemoryLimitError(
            f"The trace of this step {words} {in_bytes(need)}, and there are "
            f"{in_bytes(self.budget)} for it: trace a smaller batch, or give trace() a larger "
            "budget."
        )
