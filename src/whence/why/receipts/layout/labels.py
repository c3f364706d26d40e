"""What numbers are called: which token, at which position, of which example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from whence.errors import WhenceError
from whence.why.receipts.layout.axes import B, H, T
from whence.why.receipts.layout.layouts import Layouts
from whence.why.receipts.layout.streams import Stream
from whence.why.recording.storage import Index, Memory, Ref
from whence.why.recording.tape import Op
from whence.why.rules.forms.positions import coordinates
from whence.why.rules.opening import Cells

_NEAR = 16  # characters shown to either side of a token


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the batch: a forward pass and its backward pass.

    Attributes:
        first: the ordinal of its first operation.
        layouts: finds what the dimensions of its tensors run over.
    """

    first: float
    layouts: Layouts


@dataclass(frozen=True, slots=True)
class Place:
    """Where numbers are in the batch; arrays of one length, `None` where it means nothing.

    Attributes:
        example: index within the whole step, over its parts and passes.
        position: place in the window.
        head: attention head.
        token: token id that is there.
        row: row of the ids, where nothing tells whether rows are examples or positions.
        column: the same of columns.
        stream: the ids that they were made from.
        key: of an attention weight or score, the position that is read.
        key_stream: the ids that are read.
    """

    example: np.ndarray | None = None
    position: np.ndarray | None = None
    head: np.ndarray | None = None
    token: np.ndarray | None = None
    row: np.ndarray | None = None
    column: np.ndarray | None = None
    stream: Stream | None = None
    key: np.ndarray | None = None
    key_stream: Stream | None = None


class Labels:
    """Finds the token, position and example of the numbers of a trace.

    Args:
        parts: the parts of the batch, in order.
        decode: token id → its text.
        where: (example, position) → where in the training text it is.

    Attributes:
        by_example: `where` needs no position: an example is a line of the text.
    """

    def __init__(
        self,
        parts: list[Part],
        decode: Callable[[int], str] | None = None,
        where: Callable[[int, int], str] | None = None,
    ):
        self.parts, self.decode, self.where = parts, decode, where
        self.by_example = False

    @classmethod
    def of(
        cls,
        ops: list[Op],
        tokens: list[np.ndarray] | None,
        decode: Callable[[int], str] | None,
        where: Callable[[int, int], str] | None,
        parameters: set[Memory],
        recurrent: set[str],
    ) -> Labels:
        """Find the parts of a batch: a part ends where a forward pass follows a backward pass."""
        parts: list[Part] = []
        for number, segment in enumerate(_segments(ops)):
            ids = tokens[number] if tokens and number < len(tokens) else None
            batch = _first_batch(segment) if ids is None else len(ids)
            layouts = Layouts(segment, parameters, ids, batch, recurrent)
            parts.append(Part(segment[0].ordinal, layouts))
        return cls(parts, decode, where)

    def part_of(self, ref: Cells) -> Part | None:
        """Return the part of the batch in which a tensor was made."""
        return next((p for p in reversed(self.parts) if p.first <= ref.ordinal), None) or (
            self.parts[0] if self.parts else None
        )

    def before(self, part: Part) -> int:
        """Count the examples of the parts before one."""
        return sum(p.layouts.examples for p in self.parts[: self.parts.index(part)])

    def ids_of(self, ref: Cells) -> np.ndarray | None:
        """Return the token ids [B, T] that a tensor was made from; `None` where none are known."""
        stream = self.place(ref, np.zeros(1, dtype=np.int64)).stream if ref.numel else None
        if stream is None:
            return None
        return stream.ids.T if stream.rows_are_examples is False else stream.ids

    def place(self, ref: Cells, at: Index) -> Place:
        """Tell where in the batch the elements of a tensor are."""
        part = self.part_of(ref)
        axes = None if part is None else part.layouts.of(ref)
        if part is None or axes is None:
            return Place()
        found: dict[str, np.ndarray] = {}
        stream: Stream | None = None
        key: tuple[np.ndarray, Stream | None] | None = None
        for where, several in zip(coordinates(at, ref.size), axes, strict=True):
            rest = where
            for axis in reversed(several):
                rest, i = np.divmod(rest, axis.size)
                if axis.role == T and T in found:
                    key = i + axis.start, axis.stream
                if axis.role == H or stream in (None, axis.stream):  # queries come before keys
                    found.setdefault(axis.role, i + axis.start)
                    stream = stream or axis.stream
        heads, before = found.get(H), self.before(part)
        if stream is None:
            example = found[B] + before if B in found else None
            return Place(example=example, head=heads)
        place = _of_stream(stream, found, heads, before + stream.root.first)
        if key is not None and stream.rows_are_examples:
            place = replace(place, key=key[0], key_stream=key[1])
        return place

    def text(self, token: int) -> str:
        """Return a token as text, in quotes; its number where there is no decoder."""
        return f"token {token}" if self.decode is None else repr(self.decode(int(token)))

    def token(self, text: str, vocabulary: int) -> int:
        """Find the token with this text.

        Raises:
            WhenceError: there is no decoder, or no token of a vocabulary of this size is that.
        """
        if self.decode is None:
            raise WhenceError(
                f"{text!r} can't be found without a decoder: give trace() decode=…, or use token "
                "ids."
            )
        for token in range(vocabulary):
            if self.decode(token) == text:
                return token
        raise WhenceError(f"{text!r} isn't one of the {vocabulary} tokens.")

    def describe(self, ref: Cells, at: int) -> str:
        """Say in words where a number is: `'mat' at position 5 of example 0`."""
        place = self.place(ref, np.array([at]))
        words = []
        if place.token is not None:
            words.append(self.text(int(place.token[0])))
        if place.row is not None and place.column is not None:
            where = f"row {int(place.row[0])}, column {int(place.column[0])}"
            return f"{words[0]} at {where}" if words else where
        if place.position is not None:
            words.append(f"{'at ' if words else ''}position {int(place.position[0])}")
        several = sum(part.layouts.examples for part in self.parts) > 1
        if place.example is not None and several:
            words.append(f"{'of ' if words else ''}example {int(place.example[0])}")
        if place.example is not None and place.position is None and self.by_example:
            words += [f"({self.where(int(place.example[0]), 0)})"] if self.where else []
        if place.example is not None and place.position is not None:
            inside = self.stands(int(place.example[0]), int(place.position[0]), place.stream)
            words += [f"({inside})"] if inside else []
        if place.key is not None and place.example is not None:
            words.append(self._reads(place, int(place.example[0]), int(place.key[0])))
        return " ".join(words)

    def _reads(self, place: Place, example: int, key: int) -> str:
        """Say which token an attention weight reads."""
        first, row = self._of_example(example)
        stream = place.key_stream or first
        ids = None if stream is None else stream.of_example(row)
        known = ids is not None and 0 <= key < len(ids)
        token = f"{self.text(int(ids[key]))} at " if known and ids is not None else ""
        return f"reads {token}position {key}"

    def stands(self, example: int, position: int, stream: Stream | None = None) -> str:
        """Say where in the training text a token is: `line 812: …on the ⟨m⟩at and…`."""
        if self.where is None:
            return ""
        around = self.around(example, position, stream)
        return self.where(example, position) + (f": {around}" if around else "")

    def around(self, example: int, position: int, stream: Stream | None = None) -> str:
        """Show a token between those beside it in its window; "" where that isn't known.

        Args:
            example: which.
            position: which of its tokens.
            stream: whose tokens, where the example has several, such as a source and a target.
        """
        first, row = self._of_example(example)
        stream = first if stream is None else stream
        if self.decode is None or stream is None:
            return ""
        ids = stream.of_example(row)
        return around(ids, position, self.decode) if 0 <= position < len(ids) else ""

    def _of_example(self, example: int) -> tuple[Stream | None, int]:
        """Find the stream that an example is of, and which of its examples it is."""
        for part in self.parts:
            count = part.layouts.examples
            if example < count:
                streams = [s for s in part.layouts.streams if s.joined is None]
                found = next((s for s in reversed(streams) if s.first <= example), None)
                return found, example - (found.first if found else 0)
            example -= count
        return None, 0

    def undecided(self) -> tuple[int, ...] | None:
        """Return the shape of ids whose examples and positions can't be told apart, or `None`."""
        streams = [s for part in self.parts for s in part.layouts.streams]
        return next((s.ids.shape for s in streams if s.rows_are_examples is None), None)


def _of_stream(
    stream: Stream, found: dict[str, np.ndarray], heads: np.ndarray | None, before: int
) -> Place:
    """Say where in its stream numbers are."""
    row, column = found.get(B), found.get(T)
    rows, columns = stream.ids.shape
    some = row if row is not None else column
    if some is None:
        return Place(head=heads)
    # One example, or windows of one token: a dimension of size 1 tells nothing by itself.
    row = np.zeros_like(some) if row is None and rows == 1 else row
    column = np.zeros_like(some) if column is None and columns == 1 else column
    token = None
    if row is not None and column is not None:
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        token = stream.ids[row, column] if inside.all() else None
    if stream.rows_are_examples is None:
        return Place(head=heads, token=token, row=row, column=column)
    example, position = (row, column) if stream.rows_are_examples else (column, row)
    example = None if example is None else example + before
    return Place(example, position, heads, token, stream=stream)


def around(ids: np.ndarray, position: int, decode: Callable[[int], str]) -> str:
    """Show a token between those beside it: `…on the ⟨m⟩at and…`.

    Example:
        >>> around(np.array([0, 1, 2]), 1, lambda i: "abc"[i])
        'a⟨b⟩c'
    """
    near = range(max(0, position - _NEAR), min(len(ids), position + _NEAR + 1))
    words = {i: "".join(map(_visible, decode(int(ids[i])))) for i in near}
    before = "".join(words[i] for i in near if i < position)
    after = "".join(words[i] for i in near if i > position)
    left = f"…{before[-_NEAR:]}" if len(before) > _NEAR or near.start else before
    right = f"{after[:_NEAR]}…" if len(after) > _NEAR or near.stop < len(ids) else after
    return f"{left}⟨{words[position]}⟩{right}"


def _visible(char: str) -> str:
    return "↵" if char == "\n" else char if char.isprintable() else "·"


def _segments(ops: list[Op]) -> list[list[Op]]:
    """Cut the step where autograd begins a new graph after a backward pass."""
    segments: list[list[Op]] = []
    phase = ""
    for op in ops:
        begins = op.phase == "forward" and phase == "backward" and op.sequence >= 0
        if not segments or begins:
            segments.append([])
        segments[-1].append(op)
        if op.phase == "backward" or begins:
            phase = op.phase
    return segments


def _first_batch(ops: list[Op]) -> int:
    """The rows of the first matrix product's left factor: the examples, for a plain network.

    Of a layer over [examples, positions, numbers], whose rows are every position of every example,
    the examples are those of the tensor before it was laid out for the product.
    """
    for op in ops:
        if op.name in ("mm", "addmm"):
            values = op.call(0).values
            left: Ref = values["mat1" if "mat1" in values else "self"]
            same = [ref for ref in left.version.seen if ref.numel == left.numel]
            return max([left, *same], key=lambda ref: len(ref.size)).size[0]
    return 0
