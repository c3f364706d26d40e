"""Memory as it was: each storage is kept once, and what a write replaced is kept beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError

if TYPE_CHECKING:
    from whence.why.recording.tape import Op

Index = np.ndarray  # int64, logical (row-major) positions within a tensor


class Version:
    """What a storage held between two writes.

    Attributes:
        number: 0 for what it held first.
        writer: the operation that wrote it, `None` for what was there before the step.
        regions: the parts of the storage that the writer wrote, each with its place among the
            writer's outputs.
        kept: copies of the regions that the *next* write replaced.
        names: (rank, name, ref) of every name given to a part of it.
        carries: it is a gradient, or was worked out from one.
        seen: all tensors that were laid over it.
        unseen: operations made it that weren't recorded.
        fixed: it is a parameter, or made of nothing but parameters.
        stands_for: the tensor of the step that this is a float64 copy of, row by row: a place in
            this storage is the logical position of an element of that tensor.
    """

    __slots__ = (
        "carries", "fixed", "kept", "memory", "names", "number", "regions", "seen", "stands_for",
        "unseen", "writer",
    )  # fmt: skip

    def __init__(self, memory: Memory, number: int, writer: Op | None):
        self.memory, self.number, self.writer = memory, number, writer
        self.regions: list[tuple[Ref, int]] = []
        self.kept: list[tuple[Ref, Tensor]] = []
        self.names: list[tuple[int, str, Ref]] = []
        self.carries = writer is not None and writer.carries
        self.seen: list[Ref] = []
        self.stands_for: Ref | None = None
        self.unseen = False
        self.fixed = writer is not None and writer.fixed

    @property
    def from_behind(self) -> bool:
        """Whether a backward pass made it."""
        return self.carries or (self.writer is not None and self.writer.phase == "backward")

    def content(self) -> torch.UntypedStorage:
        """Return the whole storage as it was at this version.

        Raises:
            WhenceError: its trace is gone.
        """
        if self.memory.is_free:
            raise WhenceError(
                "the trace that this operation is of is gone, and its numbers with it: keep the "
                "trace in a variable for as long as its operations are read."
            )
        versions = self.memory.versions
        whole, found = self.number, None
        while whole < len(versions) - 1:
            found = versions[whole]._complete()
            if found is not None:
                break
            whole += 1
        found = self.memory.storage if found is None else found
        if whole == self.number:
            return found
        found = found.clone()
        for version in reversed(versions[self.number : whole]):
            for region, old in version.kept:
                region.over(found).copy_(old)
        return found

    def _complete(self) -> torch.UntypedStorage | None:
        """The copy that was kept, if it is of the whole storage and laid out as that was."""
        for ref, old in self.kept:
            storage = old.untyped_storage()
            if (
                ref.offset == 0
                and ref.stride == old.stride()
                and (storage.nbytes() == self.memory.nbytes)
            ):
                return storage
        return None


class Memory:
    """One storage through the step: its versions in order, and its bytes.

    Attributes:
        outside: it existed before the step.
        lengths: of a nested tensor, how many rows each part has.
        is_free: its bytes were let go, as nobody holds the trace any longer.
    """

    __slots__ = ("is_free", "lengths", "nbytes", "outside", "storage", "versions")

    def __init__(self, storage: torch.UntypedStorage, writer: Op | None, outside: bool):
        self.storage, self.outside, self.is_free = storage, outside, False
        self.nbytes = storage.nbytes()
        self.lengths: tuple[int, ...] | None = None
        self.versions = [Version(self, 0, writer)]

    def resized(self) -> int:
        """Keep all of it, as it will be given another size; return how many bytes that takes."""
        if not self.storage.nbytes():
            return 0
        version, kept = self.current, self.storage.clone()
        whole = torch.empty(0, dtype=torch.uint8).set_(kept, 0, (kept.nbytes(),), (1,))
        ref = Ref(version, 0, whole.shape, whole.stride(), whole.dtype)
        version.kept.append((ref, whole))
        self.nbytes = kept.nbytes()
        self.versions.append(Version(self, len(self.versions), None))
        return kept.nbytes()

    @property
    def current(self) -> Version:
        """The version that the storage holds now."""
        return self.versions[-1]


class Ref:
    """One tensor of the step: a shape laid over one version of a storage.

    Attributes:
        version: what it reads.
        offset: where its first element lies in the storage, in elements.
        size: its shape.
        stride: how many elements apart neighbours along each dimension lie.
        dtype: its type.
        dense: its elements lie side by side, row by row.
        conjugate: it reads complex numbers conjugated, as `z.conj()` does without copying them.
        negative: it reads numbers with their sign turned, as `z.conj().imag` does.
    """

    __slots__ = (
        "conjugate", "dense", "dtype", "negative", "offset", "size", "stride", "version",
    )  # fmt: skip

    def __init__(
        self,
        version: Version,
        offset: int,
        size: tuple,
        stride: tuple,
        dtype: Any,
        conjugate: bool = False,
        negative: bool = False,
    ):
        self.version, self.offset = version, offset
        self.conjugate, self.negative = conjugate, negative
        self.size, self.stride, self.dtype = tuple(size), tuple(stride), dtype
        self.dense = _is_dense(self.size, self.stride)

    def copied_from(self, original: Ref) -> Ref:
        """Return the whole copy that this is a view of, which lies row by row from the start."""
        stride = torch.empty(original.size, device="meta").stride()
        return Ref(self.version, 0, original.size, stride, self.dtype)

    def __repr__(self) -> str:
        return f"Ref({best_name(self) or '?'}, {list(self.size)}, {self.dtype})"

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.size)

    @property
    def ordinal(self) -> float:
        """Place in the step of the operation that wrote it, −1 if it was there before."""
        writer, original = self.version.writer, self.version.stands_for
        if original is not None:
            return original.ordinal
        return -1 if writer is None else writer.ordinal

    @property
    def carries(self) -> bool:
        """Whether it is a gradient, or was worked out from one."""
        original = self.version.stands_for
        return self.version.carries if original is None else original.carries

    @property
    def fixed(self) -> bool:
        """Whether it is a parameter, or made of nothing but parameters."""
        original = self.version.stands_for
        return self.version.fixed if original is None else original.fixed

    def over(self, storage: torch.UntypedStorage) -> Tensor:
        """Lay this tensor's shape over a storage."""
        empty = torch.empty(0, dtype=self.dtype, device=storage.device)
        laid = empty.set_(storage, self.offset, self.size, self.stride)
        laid = laid.conj() if self.conjugate else laid
        return torch._neg_view(laid) if self.negative else laid

    def tensor(self) -> Tensor:
        """Return the tensor as it was; it shares the recorded memory, so don't write to it."""
        return self.over(self.version.content())

    def places(self, at: Index) -> Index:
        """Return where in the storage, in elements, the elements at logical positions lie."""
        if self.dense:
            return np.asarray(at, dtype=np.int64) + self.offset
        places = np.full(np.shape(at), self.offset, dtype=np.int64)
        rest = np.asarray(at, dtype=np.int64)
        for size, stride in zip(reversed(self.size), reversed(self.stride), strict=True):
            rest, i = np.divmod(rest, size)
            if stride:
                places += i * stride
        return places

    def locate(self, places: Index) -> Index:
        """Return the logical position of each place in the storage, −1 where it isn't in here."""
        rest = np.asarray(places, dtype=np.int64) - self.offset
        if self.dense:
            return np.where((rest >= 0) & (rest < self.numel), rest, -1)
        found = np.zeros(rest.shape, dtype=np.int64)
        weights = np.cumprod([1, *reversed(self.size)])[-2::-1] if self.size else []
        dims = sorted(
            (d for d in zip(self.stride, self.size, weights, strict=True) if d[0] and d[1] > 1),
            key=lambda d: -d[0],
        )
        inside = rest >= 0
        for stride, size, weight in dims:
            i = np.minimum(rest // stride, size - 1)
            rest = rest - i * stride
            found += i * weight
        return np.where(inside & (rest == 0) & (self.numel > 0), found, -1)

    def gather(self, at: Index) -> np.ndarray:
        """Return the values at logical positions, as float64 or complex128."""
        storage = self.version.content()
        count = storage.nbytes() // self.dtype.itemsize
        empty = torch.empty(0, dtype=self.dtype, device=storage.device)
        flat = empty.set_(storage, 0, (count,), (1,))
        places = self.places(at)
        if flat.dtype in _NUMPY and flat.device.type == "cpu":  # sooner than by torch
            values = flat.numpy(force=True)[places].astype(np.float64)
            return -values if self.negative else values
        values = flat[torch.from_numpy(places).to(flat.device)]
        wide = torch.complex128 if values.is_complex() else torch.float64
        values = values.to(wide).numpy(force=True)
        values = values.conj() if self.conjugate else values
        return -values if self.negative else values

    def writers(self, at: Index) -> list[tuple[Op | None, int, Index, np.ndarray]]:
        """Tell which operation wrote each element.

        Returns:
            A list of (operation or `None`, place among its outputs, positions within that output,
            which of `at` these are).
        """
        places = self.places(at).reshape(-1)
        left = np.arange(places.size)
        found = []
        for version in reversed(self.version.memory.versions[: self.version.number + 1]):
            for region, slot in version.regions:
                if region.dtype.is_complex != self.dtype.is_complex:
                    continue  # its places are counted in numbers of another size
                inside = region.locate(places[left])
                hit = inside >= 0
                if hit.any():
                    found.append((version.writer, slot, inside[hit], left[hit]))
                    left = left[~hit]
                if not left.size:
                    return found
        if left.size:
            found.append((None, 0, places[left], left))
        return found


def _is_dense(size: tuple, stride: tuple) -> bool:
    """Whether elements of this shape lie side by side, row by row; dimensions of 1 say nothing."""
    whole = 1
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        if length != 1 and step != whole:
            return False
        whole *= length
    return True


_NUMPY = {torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8}


def best_name(ref: Ref) -> str | None:
    """Return the name of the tensor itself, `None` if only a part or a whole of it has one."""
    exact = [n for n in ref.version.names if n[2] is ref]
    return min(exact, key=lambda n: n[0])[1] if exact else None
