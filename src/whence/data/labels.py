"""Labelled texts: lines of label, tab, text, and batches of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from whence.data.permutation import hash64, permute
from whence.errors import WhenceError

_ORDER, _DROPOUT = 22, 23  # keep the random streams of one seed apart


class LabelledPart(NamedTuple):
    """Some labelled texts of one step's batch.

    Attributes:
        inputs: int64 [B, S], token ids, padded with 0.
        visible: bool [B, S], False for padding.
        targets: int64 [B], the number of each text's class.
        starts: int64 [B], which of the texts they are.
        seed: for dropout, a function of (seed, step, part).
    """

    inputs: Tensor
    visible: Tensor
    targets: Tensor
    starts: np.ndarray
    seed: int


def lay(texts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Lay texts side by side: ids [B, S], and [B, S] False for padding.

    Example:
        >>> lay([np.array([5, 6]), np.array([7])])[1].tolist()
        [[True, True], [True, False]]
    """
    width = max(1, *(len(text) for text in texts))
    rows = np.zeros((len(texts), width), dtype=np.int64)
    visible = np.zeros((len(texts), width), dtype=bool)
    for row, text in enumerate(texts):
        rows[row, : len(text)] = text
        visible[row, : max(1, len(text))] = True
    return torch.from_numpy(rows), torch.from_numpy(visible)


class LabelBatches:
    """Labelled texts in shuffled order; `batches[step]` needs no step before it.

    Args:
        texts: ids of each text.
        classes: the number of each text's class.
        batch_size: texts per step.
        seed: selects orders and the parts' seeds.
        accumulate: split each batch into so many parts.
        device: where the tensors go.

    Raises:
        WhenceError: there are no texts.

    Example:
        >>> batches = LabelBatches([np.array([5, 6])], [1], batch_size=2, seed=0)
        >>> [(weight, part)] = batches[0]
        >>> part.inputs.tolist(), part.targets.tolist()
        ([[5, 6], [5, 6]], [1, 1])
    """

    def __init__(
        self,
        texts: Sequence[np.ndarray],
        classes: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        device: torch.device | str = "cpu",
    ):
        if not texts:
            raise WhenceError("there are no labelled lines to train on: give more.")
        self.texts, self.classes = texts, np.asarray(classes, dtype=np.int64)
        self.batch_size, self.seed, self.accumulate = batch_size, seed, accumulate
        self.device = torch.device(device)

    def __getitem__(self, step: int) -> list[tuple[float, LabelledPart]]:
        """Make the batch of a step.

        Raises:
            WhenceError: the step is negative.
        """
        places = self.starts(step)
        made = []
        for number, rows in enumerate(np.array_split(places, self.accumulate)):
            inputs, visible = (t.to(self.device) for t in lay([self.texts[i] for i in rows]))
            targets = torch.from_numpy(self.classes[rows]).to(self.device)
            seed = hash64(self.seed, _DROPOUT, step, number) >> 1
            part = LabelledPart(inputs, visible, targets, rows, seed)
            made.append((len(rows) / len(places), part))
        return made

    def starts(self, step: int) -> np.ndarray:
        """Say which texts a step takes, by their numbers.

        Raises:
            WhenceError: the step is negative.
        """
        if step < 0:
            raise WhenceError(f"Step {step} doesn't exist: steps count from 0.")
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(numbers, len(self.texts))
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            places[here] = permute(places[here], len(self.texts), self.seed, _ORDER, epoch)
        return places
