"""The processes that train one model together, as torchrun starts them: who leads, who follows.

Process 0 leads: it keeps the record, measures, writes and decides. Before each thing that all must
do it says so, and the others do as they are told (`whence.runs.together`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

# The leader may measure and write for as long as it takes; a process that dies is noticed at once.
PATIENCE = timedelta(days=7)


class Order(IntEnum):
    """What the leader may ask of all."""

    STEP = 0
    SHARDS = 1
    WHOLE = 2
    END = 3


@dataclass
class Team:
    """This process's place among those that train together.

    Attributes:
        rank: its number; 0 leads.
        size: how many there are.
        orders: the group that orders go through, on CPUs.
        met: whether the leader has named the run that they train.
    """

    rank: int
    size: int
    orders: ProcessGroup
    met: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the process that keeps the record."""
        return self.rank == 0

    def tell(self, order: Order, step: int = 0, length: int = 0) -> None:
        """Say, as the leader, what all do next; `step` and `length` are the order's numbers."""
        import torch
        import torch.distributed as dist

        dist.broadcast(torch.tensor([order, step, length]), 0, group=self.orders)

    def hear(self) -> tuple[Order, int, int]:
        """Wait, as a follower, for what to do next."""
        import torch
        import torch.distributed as dist

        said = torch.zeros(3, dtype=torch.int64)
        dist.broadcast(said, 0, group=self.orders)
        order, step, length = said.tolist()
        return Order(order), step, length

    def steps(self, steps: Iterable[int], optimizer: Any) -> Iterator[int]:
        """Give the numbers of steps, each told to all before it begins; followers are told."""
        for step in steps:
            if self.leads:
                self.tell(Order.STEP, step, optimizer.steps)
            yield step

    def share(self, thing: Any) -> Any:
        """Return the leader's plain value (texts and numbers) in every process."""
        import torch.distributed as dist

        box = [thing]
        dist.broadcast_object_list(box, 0, group=self.orders)
        self.met = True
        return box[0]

    def end(self) -> None:
        """Tell the followers, as the leader, that there is nothing more to do."""
        with suppress(RuntimeError):  # they may be gone
            if self.met:
                self.tell(Order.END)
            else:
                self.share(None)
        self.met = False

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of every process's value."""
        import torch.distributed as dist

        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.size


def is_one_of_many() -> bool:
    """Tell whether torchrun started this process along with others.

    Example:
        >>> is_one_of_many()
        False
    """
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def join(device: str = "cpu") -> Team:
    """Take this process's place among those that torchrun started: gloo on CPUs, NCCL on GPUs.

    Args:
        device: what the run is computed on.
    """
    import torch
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    orders: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
    team = Team(dist.get_rank(), dist.get_world_size(), orders)
    if not team.leads:  # the leader ends it, and says so
        for name in ("SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
    return team


def leave() -> None:
    """Give up this process's place, so that the library ends without a warning."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
