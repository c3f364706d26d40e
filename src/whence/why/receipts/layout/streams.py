"""Streams of tokens: the ids that an embedding looked up, laid out in rows and columns.

Which of the two dimensions runs over examples is told by what the numbers made of them went
through: recurrent layers keep examples apart in their second dimension, attention in its first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, flatten


@dataclass(eq=False, slots=True)
class Stream:
    """One tensor of token ids.

    Attributes:
        ids: [rows, columns].
        given: it is what `trace` was told of, where rows are examples.
        row_votes: how often its rows were seen to be kept apart as examples are.
        column_votes: the same of its columns.
        first: number of its first example within the part of the batch.
        joined: the stream whose examples these are too, as of a source and its target.
    """

    ids: np.ndarray
    given: bool = False
    row_votes: int = 0
    column_votes: int = 0
    first: int = 0
    joined: Stream | None = field(default=None, repr=False)

    @property
    def rows_are_examples(self) -> bool | None:
        """Whether a row is an example, a column a position; `None` where that can't be known."""
        if self.given or self.row_votes > self.column_votes:
            return True
        if self.column_votes > self.row_votes:
            return False
        return True if self.ids.shape[0] == 1 else None  # one example, as a text that is read

    @property
    def examples(self) -> int:
        """How many examples it holds."""
        return self.ids.shape[1 if self.rows_are_examples is False else 0]

    @property
    def root(self) -> Stream:
        """The first of the streams that share their examples."""
        return self if self.joined is None else self.joined.root

    def join(self, other: Stream) -> None:
        """Note that an example of another stream is an example of this one too."""
        ours, theirs = self.root, other.root
        if ours is not theirs and self.examples == other.examples:
            ours.joined = theirs

    def of_example(self, example: int) -> np.ndarray:
        """Return the ids of one of its examples, in their order."""
        return self.ids[:, example] if self.rows_are_examples is False else self.ids[example]


def looks_like_tokens(call: Call, first: bool) -> bool:
    """Whether an embedding's indices are tokens, rather than positions, types or distances.

    Args:
        call: the embedding.
        first: no table of tokens has been seen yet.
    """
    indices: Ref = call["indices"]
    if len(indices.size) != 2 or not indices.numel or not _from_outside(indices):
        return False
    ids = indices.gather(np.arange(indices.numel)).reshape(indices.size)
    counts = indices.size[1] > 1 and bool((np.diff(ids, axis=1) == 1).all())
    return first or not counts


def ids_of(indices: Ref) -> np.ndarray:
    """Read ids [rows, columns]."""
    values: Index = indices.gather(np.arange(indices.numel)).astype(np.int64)
    return values.reshape(indices.size)


def _from_outside(indices: Ref) -> bool:
    """Whether they were worked out from anything that the step was given."""
    todo, seen = [indices], set[int]()
    while todo:
        ref = todo.pop()
        if id(ref.version) in seen:
            continue
        seen.add(id(ref.version))
        for version in ref.version.memory.versions[: ref.version.number + 1]:
            writer = version.writer
            if writer is not None:
                todo += _integers([*writer.args, *writer.kwargs.values()])
            elif version.memory.nbytes > 8:  # a constant says nothing
                return True
    return False


def _integers(values: list[Any]) -> list[Ref]:
    return [ref for ref in flatten(values, Ref) if not ref.dtype.is_floating_point]
