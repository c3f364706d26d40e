"""Pairs: a text whose lines are source, tab, target, and batches of whole lines of it."""

from collections.abc import Sequence

import numpy as np
import torch

from whence.data.batches import NOT_COUNTED, Part
from whence.data.permutation import hash64, permute
from whence.data.texts.shards import Dataset
from whence.errors import WhenceError

_ORDER, _DROPOUT = 12, 13  # keep the random streams of one seed apart


def split_pairs(
    tokens: np.ndarray, separator: int, end: int, *, first_is_whole: bool, last_is_whole: bool
) -> list[np.ndarray]:
    """Cut a token stream at its line breaks into pairs, each with its line break.

    Args:
        tokens: ids of lines of source, tab, target.
        separator: id of the tab.
        end: id of the line break.
        first_is_whole: the stream begins with a whole line; False leaves out what is ahead of
            the first line break.
        last_is_whole: the last line may lack its line break; False leaves such a line out.

    Raises:
        WhenceError: a line has no tab or several, or nothing on a side of it.

    Example:
        >>> lines = split_pairs(np.array([5, 0, 6, 1, 7, 0, 8]), 0, 1, first_is_whole=True,
        ...     last_is_whole=True)
        >>> [line.tolist() for line in lines]
        [[5, 0, 6, 1], [7, 0, 8, 1]]
    """
    breaks = np.flatnonzero(tokens == end)
    if last_is_whole and len(tokens) and (not len(breaks) or breaks[-1] != len(tokens) - 1):
        tokens = np.append(tokens, np.asarray(end, dtype=tokens.dtype))
        breaks = np.append(breaks, len(tokens) - 1)
    starts = np.concatenate(([0], breaks[:-1] + 1)) if len(breaks) else breaks
    lines = [tokens[a : b + 1] for a, b in zip(starts, breaks, strict=True)]
    lines = lines if first_is_whole else lines[1:]
    pairs = []
    for number, line in enumerate(lines, start=1):
        if len(line) == 1:
            continue  # an empty line
        tabs = np.flatnonzero(line == separator)
        if len(tabs) != 1 or tabs[0] in (0, len(line) - 2):
            where = "has no tab" if not len(tabs) else "has more than one tab"
            where = where if len(tabs) != 1 else "has nothing on one side of its tab"
            raise WhenceError(
                f"pair {number} {where}: each line must be a source, one tab and a target."
            )
        pairs.append(line)
    return pairs


def split_sides(
    dataset: Dataset, separator: int, end: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut a dataset into lines to train on and lines held out.

    A line that the split of one text cuts in two is left out; of a validation text of its own, and
    of the text before it, every line counts.

    Raises:
        WhenceError: a line has no tab or several, or nothing on a side of it.
    """
    train, held = dataset.train, dataset.validation
    apart = dataset.validation_source is not None or not len(held)
    between = apart or not len(train) or train[-1] == end  # the split is between two lines
    return (
        split_pairs(train, separator, end, first_is_whole=True, last_is_whole=apart),
        split_pairs(held, separator, end, first_is_whole=bool(between), last_is_whole=True),
    )


def check_marks(tokenizer, separator: int, end: int) -> None:
    """Refuse a tokenizer whose tab and line break aren't the ones the model was told of.

    Raises:
        WhenceError: with the flags that put it right.
    """
    try:
        found = [tokenizer.encode(mark).tolist() for mark in ("\t", "\n")]
    except WhenceError as error:
        raise WhenceError(
            "the text contains no pairs: each line must be a source, a tab and a target."
        ) from error
    if any(len(ids) != 1 for ids in found):
        raise WhenceError(
            "this tokenizer has no token of its own for the tab between source and target: use "
            "--data.tokenizer chars, bytes or words."
        )
    if [ids[0] for ids in found] != [separator, end]:
        raise WhenceError(
            f"with this tokenizer the tab is token {found[0][0]} and the line break "
            f"{found[1][0]}: give --model.separator {found[0][0]} --model.end {found[1][0]}."
        )


def as_part(pairs: Sequence[np.ndarray], separator: int, end: int, seed: int = 0) -> Part:
    """Lay pairs side by side, padded with line breaks; only the target's tokens are counted.

    Example:
        >>> part = as_part([np.array([5, 0, 6, 1]), np.array([7, 8, 0, 9, 9, 1])], 0, 1)
        >>> part.targets[0].tolist()
        [-100, 6, 1, -100, -100]
    """
    width = max(len(pair) for pair in pairs)
    rows = np.full((len(pairs), width), end, dtype=np.int64)
    counted = np.zeros((len(pairs), width), dtype=bool)
    for row, pair in enumerate(pairs):
        rows[row, : len(pair)] = pair
        counted[row, int(np.argmax(pair == separator)) + 1 : len(pair)] = True
    inputs, targets = rows[:, :-1], np.where(counted, rows, NOT_COUNTED)[:, 1:]
    return Part(
        torch.from_numpy(inputs.copy()),
        torch.from_numpy(targets.copy()),
        np.zeros(len(pairs), dtype=np.int64),
        seed,
    )


class PairBatches:
    """Pairs in shuffled order; `batches[step]` needs no step before it.

    Args:
        pairs: as of `split_pairs`.
        separator: id of the tab.
        end: id of the line break, which also pads.
        batch_size: pairs per step.
        seed: selects orders and the parts' seeds.
        accumulate: split each batch into so many parts.
        device: where the tensors go.

    Raises:
        WhenceError: there are no pairs.

    Example:
        >>> batches = PairBatches([np.array([5, 0, 6, 1])], 0, 1, batch_size=2, seed=0)
        >>> [(weight, part)] = batches[0]
        >>> part.inputs.shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        pairs: Sequence[np.ndarray],
        separator: int,
        end: int,
        *,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        device: torch.device | str = "cpu",
    ):
        if not pairs:
            raise WhenceError("there are no whole pairs to train on: give more lines.")
        self.pairs, self.separator, self.end = pairs, separator, end
        self.batch_size, self.seed, self.accumulate = batch_size, seed, accumulate
        self.device = torch.device(device)

    def __getitem__(self, step: int) -> list[tuple[float, Part]]:
        """Make the batch of a step.

        Raises:
            WhenceError: the step is negative.
        """
        places = self.starts(step)
        made = []
        for number, rows in enumerate(np.array_split(places, self.accumulate)):
            seed = hash64(self.seed, _DROPOUT, step, number) >> 1
            part = as_part([self.pairs[i] for i in rows], self.separator, self.end, seed)
            count = int((part.targets != NOT_COUNTED).sum())
            inputs, targets = part.inputs.to(self.device), part.targets.to(self.device)
            made.append((count, Part(inputs, targets, rows, seed)))
        total = sum(count for count, _ in made)
        return [(count / total, part) for count, part in made]

    def starts(self, step: int) -> np.ndarray:
        """Say which pairs a step takes, by their numbers.

        Raises:
            WhenceError: the step is negative.
        """
        if step < 0:
            raise WhenceError(f"Step {step} doesn't exist: steps count from 0.")
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(numbers, len(self.pairs))
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            places[here] = permute(places[here], len(self.pairs), self.seed, _ORDER, epoch)
        return places
