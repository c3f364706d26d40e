"""One step by several processes: which parts of the batch each computes, and how gradients add up.

A batch has fixed parts (`accumulate`), whatever the number of processes; each takes as many as the
others, side by side. The loop that trains stays the same: what it draws from is a process's own
parts, and what happens between two of them happens here.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.scale.team import Team

Parts = list[tuple[float, Any]]
Loss = Callable[[Any, Any], Tensor]


class Batches(Protocol):
    """A pure function of the step."""

    def __getitem__(self, step: int, /) -> Parts:
        """Make the parts of a step's batch."""
        ...


def own_parts(parts: Parts, n_parts: int, rank: int, size: int) -> Parts:
    """Return the parts of a process; one left out for lack of tokens is another that counts 0.

    Args:
        parts: of the whole batch.
        n_parts: how many there are where none is left out; a multiple of `size`.
        rank: the process's number.
        size: how many processes there are.

    Example:
        >>> own_parts([(0.5, "a"), (0.5, "b")], 4, 1, 2)
        [(0.0, 'a'), (0.0, 'a')]
    """
    padded = [*parts, *[(0.0, parts[0][1])] * (n_parts - len(parts))]
    each = n_parts // size
    return padded[rank * each : (rank + 1) * each]


class Averaged:
    """The engine averages the gradients of all processes during the last part's backward pass.

    Args:
        batches: of the whole run.
        loss: of the model on a part.
        n_parts: of a batch.
        team: the processes.
        quiet: the context in which gradients stay a process's own.
    """

    def __init__(
        self,
        batches: Batches,
        loss: Loss,
        n_parts: int,
        team: Team,
        quiet: Callable[[], AbstractContextManager],
    ):
        self.batches, self.loss, self.n_parts = batches, loss, n_parts
        self.team, self.quiet = team, quiet

    def __getitem__(self, step: int) -> Iterator[tuple[float, Any]]:
        """Give this process's parts; their weights are such that the mean over all is the whole."""
        team = self.team
        parts = own_parts(self.batches[step], self.n_parts, team.rank, team.size)
        for weight, part in parts[:-1]:
            with self.quiet():
                yield team.size * weight, part
        weight, part = parts[-1]
        yield team.size * weight, part

    def total(self, total: Tensor) -> Tensor:
        """The loss of the whole batch from this process's."""
        return self.team.mean(total)


class Ordered:
    """Gradients and losses of the parts are added in one order, whatever the number of processes.

    n = 2^k·m parts are added in runs of m, one after another, and the sums of the runs in pairs,
    the pairs in pairs and so on: a tree. A process holds a whole branch of it, and branches are
    exchanged between pairs of processes and added, a + b being b + a to the last bit. So 1, 2, 4 …
    processes, up to 2^k, make the same sums in the same order.

    Args:
        batches: of the whole run.
        loss: of the model on a part.
        n_parts: of a batch.
        parameters: what is learnt.
        team: the processes; none: this one alone.
    """

    def __init__(
        self,
        batches: Batches,
        loss: Loss,
        n_parts: int,
        parameters: Iterable[nn.Parameter],
        team: Team | None = None,
    ):
        self.batches, self._loss, self.n_parts, self.team = batches, loss, n_parts, team
        self.parameters = list(parameters)
        self.run = n_parts // (n_parts & -n_parts)  # m
        self._sum: Tensor | None = None  # of the losses of this run of parts

    def __getitem__(self, step: int) -> Iterator[tuple[float, Any]]:
        """Give this process's parts; after the last one, gradients are those of the whole."""
        rank, size = (self.team.rank, self.team.size) if self.team else (0, 1)
        parts = own_parts(self.batches[step], self.n_parts, rank, size)
        branches: list[tuple[int, list[Tensor | None]]] = []  # (height, sums), as binary digits
        for number, (weight, part) in enumerate(parts, start=1):
            self._weight = weight
            yield weight, part
            if number % self.run == 0:
                height, branch = 0, self._taken()
                while branches and branches[-1][0] == height:
                    branch = added(branches.pop()[1], branch)
                    height += 1
                branches.append((height, branch))
        [(_, branch)] = branches
        if self.team:
            branch = self._exchanged(branch, self.team)
        for parameter, gradient in zip(self.parameters, branch[1:], strict=True):
            parameter.grad = gradient
        self._whole = branch[0]

    def loss(self, model: Any, part: Any) -> Tensor:
        """Return the loss on a part, and keep its value for the sum."""
        loss = self._loss(model, part)
        value = self._weight * loss.detach()
        self._sum = value if self._sum is None else self._sum + value
        return loss

    def total(self, total: Tensor) -> Tensor:
        """The loss of the whole batch, added in the order of the gradients."""
        assert self._whole is not None
        return self._whole

    def _taken(self) -> list[Tensor | None]:
        """Take the loss and the gradients of a run of parts; the next begins with none."""
        taken = [self._sum, *(p.grad for p in self.parameters)]
        self._sum = None
        for parameter in self.parameters:
            parameter.grad = None
        return taken

    def _exchanged(self, branch: list[Tensor | None], team: Team) -> list[Tensor | None]:
        """Add the branches of all processes: in round r with the one 2^r away."""
        there = [tensor for tensor in branch if tensor is not None]
        flat = torch.cat([tensor.reshape(-1).float() for tensor in there])
        away = 1
        while away < team.size:
            theirs = torch.empty_like(flat)
            other = team.rank ^ away
            both = [dist.P2POp(dist.isend, flat, other), dist.P2POp(dist.irecv, theirs, other)]
            for work in dist.batch_isend_irecv(both):
                work.wait()
            flat = flat + theirs
            away *= 2
        pieces = iter(flat.split([tensor.numel() for tensor in there]))
        return [
            None if tensor is None else next(pieces).view(tensor.shape).to(tensor.dtype)
            for tensor in branch
        ]


def added(a: list[Tensor | None], b: list[Tensor | None]) -> list[Tensor | None]:
    """Add two branches, number by number; a parameter that took no part has none."""
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]


def check_parts(n_parts: int, size: int, ordered: bool) -> None:
    """Refuse a number of processes that can't share a batch's parts.

    Raises:
        WhenceError: naming the numbers that can.

    Example:
        >>> check_parts(4, 2, ordered=True)
        >>> check_parts(4, 3, ordered=False)
        Traceback (most recent call last):
        whence.errors.WhenceError: a batch of 4 parts (accumulate) can't be shared by 3 processes: \
use 1, 2 or 4.
    """
    can = [n for n in range(1, n_parts + 1) if n_parts % n == 0]
    if ordered:
        can = [n for n in can if n & (n - 1) == 0]
    if size not in can:
        told = ", ".join(map(str, can[:-1])) + " or " * (len(can) > 1) + str(can[-1])
        raise WhenceError(
            f"a batch of {n_parts} parts (accumulate) can't be shared by {size} processes"
            f"{' in a fixed order' if ordered else ''}: use {told}."
        )


def replicated(model: nn.Module, forward: Callable[..., Any], device: str) -> Any:
    """Wrap what the steps call so that each process has all weights, and gradients are averaged."""
    from torch.nn.parallel import DistributedDataParallel

    module = forward if isinstance(forward, nn.Module) else model
    ids = [torch.cuda.current_device()] if device == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids)


def sharded(model: nn.Module, device: str, size: int) -> None:
    """Split the weights of a model among the processes, block by block, by FSDP2; in place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (size,))
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
