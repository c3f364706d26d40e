"""Batches: what step number k trains on, as a pure function of (seed, k)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.data.permutation import hash64, permute
from whence.errors import WhenceError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 64  # steps whose windows are shuffled at once
NOT_COUNTED = -100  # torch's own mark for a target that isn't counted in the loss
_OFFSET, _ORDER, _DROPOUT = 1, 2, 3  # keep the random streams of one seed apart


class Part(NamedTuple):
    """Some windows of one step's batch.

    Attributes:
        inputs: int64 [B, T], the tokens read.
        targets: int64 [B, T], the token after each; −100 where it isn't counted.
        starts: int64 [B], where in the training tokens each window's first input is.
        seed: for dropout, a function of (seed, step, part).

    Example:
        >>> import torch
        >>> ids = torch.tensor([[1, 2]])
        >>> Part(inputs=ids, targets=ids + 1, starts=np.array([0]), seed=0).targets
        tensor([[2, 3]])
    """

    inputs: Tensor
    targets: Tensor
    starts: np.ndarray
    seed: int


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device; to a CUDA GPU from pinned memory, without waiting for it.

    Example:
        >>> import torch
        >>> sent(torch.ones(2), "cpu").device.type
        'cpu'
    """
    if not str(device).startswith("cuda"):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class WindowBatches:
    """Windows of a token stream in shuffled order; `batches[step]` needs no step before it.

    An epoch e cuts the stream at o_e, o_e + T, o_e + 2T, … with a random offset o_e < T, and takes
    every such window once, in the order of a keyed permutation. Window number i of the whole run is
    place i mod W of epoch i div W, and step k takes windows k·B … k·B + B − 1. With fewer windows
    than a batch holds, a batch spans epochs.

    Args:
        tokens: 1-D array of ids, at least T + 1.
        context_length: T, tokens per window.
        batch_size: B, windows per step.
        seed: selects offsets, orders and the parts' seeds.
        accumulate: split each batch into so many parts; the windows of a step stay the same.
        device: where the tensors go.
        skip: (start, stop) ranges of positions in `tokens` whose prediction isn't counted: they
            are still read as context, but their targets are −100.

    Attributes:
        windows_per_epoch: W = max(1, ⌊(n − T) / T⌋).

    Raises:
        WhenceError: the text is too short, a size isn't positive, or `accumulate` exceeds
            `batch_size`.

    Example:
        >>> batches = WindowBatches(np.arange(100), context_length=8, batch_size=4, seed=0)
        >>> [(weight, part)] = batches[3]
        >>> weight, bool((part.targets == part.inputs + 1).all())
        (1.0, True)
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        context_length: int,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        device: torch.device | str = "cpu",
        skip: Iterable[tuple[int, int]] = (),
    ):
        sizes = {"context_length": context_length, "batch_size": batch_size}
        for name, size in {**sizes, "accumulate": accumulate}.items():
            if size < 1:
                raise WhenceError(f"{name} = {size} is too small: give 1 or more.")
        if accumulate > batch_size:
            raise WhenceError(
                f"accumulate = {accumulate} parts can't be made of batch_size = {batch_size} "
                "windows: lower accumulate or raise batch_size."
            )
        n = len(tokens)
        if n < context_length + 1:
            raise WhenceError(
                f"The text is too short: it has {n} training token{'s' if n != 1 else ''}, a "
                f"window of context_length = {context_length} needs {context_length + 1}. Give "
                + (f"more text, or lower context_length to {n - 1}." if n >= 2 else "more text.")
            )
        self.tokens = np.asarray(tokens)
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed
        self.accumulate = accumulate
        self.device = device
        self.windows_per_epoch = max(1, (n - context_length) // context_length)
        self.skip = np.array(sorted(skip), dtype=np.int64).reshape(-1, 2)
        spare = n - 1 - self.windows_per_epoch * context_length
        self._n_offsets = min(context_length - 1, spare) + 1
        self._columns = np.arange(context_length + 1)
        self._known = -1, np.empty((0, 0), dtype=np.int64)  # a block and its starts

    def __getitem__(self, step: int) -> list[tuple[float, Part]]:
        """Make the batch of a step.

        Args:
            step: from 0 on, without end.

        Returns:
            `accumulate` parts, each with its weight = its counted tokens / all counted tokens of
            the batch. Parts without a counted token are left out.

        Raises:
            WhenceError: the step is negative, or no token of the batch is counted.
        """
        import torch  # needed here alone: a text is prepared without it

        starts = self.starts(step)
        windows = self.tokens[starts[:, None] + self._columns]  # [B, T + 1]
        inputs, targets = windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64)
        if len(self.skip):
            targets[self._skipped(starts[:, None] + self._columns[1:])] = NOT_COUNTED
        counted = (targets != NOT_COUNTED).sum(axis=1)
        total = int(counted.sum())
        if total == 0:
            raise WhenceError(
                f"Step {step} has no token to learn from: all {targets.size} are skipped."
            )
        parts = []
        for number, rows in enumerate(np.array_split(np.arange(len(starts)), self.accumulate)):
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
            share = int(counted[chosen].sum())
            if share:
                part = Part(
                    sent(torch.from_numpy(inputs[chosen]), self.device),
                    sent(torch.from_numpy(targets[chosen]), self.device),
                    starts[chosen],
                    hash64(self.seed, _DROPOUT, step, number) >> 1,  # 63 bits: any generator's seed
                )
                parts.append((share / total, part))
        return parts

    def starts(self, step: int) -> np.ndarray:
        """Say where the windows of a step start in the tokens, without reading them.

        Returns:
            int64 [batch_size].

        Raises:
            WhenceError: the step is negative.
        """
        if step < 0:
            raise WhenceError(f"Step {step} doesn't exist: steps count from 0.")
        block, place = divmod(step, BLOCK)
        known, starts = self._known
        if block != known:
            starts = self._starts_of(block)
            self._known = block, starts
        return starts[place].copy()

    def _starts_of(self, block: int) -> np.ndarray:
        """The starts of BLOCK steps [BLOCK, batch_size]; one by one they take 20 times as long."""
        n = BLOCK * self.batch_size
        numbers = np.arange(block * n, (block + 1) * n)
        epochs = numbers // self.windows_per_epoch
        starts = np.empty(n, dtype=np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            chosen = epochs == epoch
            places = numbers[chosen] - epoch * self.windows_per_epoch
            order = permute(places, self.windows_per_epoch, self.seed, _ORDER, epoch)
            offset = hash64(self.seed, _OFFSET, epoch) % self._n_offsets
            starts[chosen] = offset + order * self.context_length
        return starts.reshape(BLOCK, self.batch_size)

    def _skipped(self, positions: np.ndarray) -> np.ndarray:
        """Which positions lie in a range to skip: the last range that starts before them says."""
        reach = np.maximum.accumulate(self.skip[:, 1])  # ranges may overlap
        last = np.searchsorted(self.skip[:, 0], positions, side="right") - 1
        return (last >= 0) & (positions < reach[last])
