"""Which record a tensor has: the storages of a step, and the tensors that were laid over them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from whence.why.recording.account import Account
from whence.why.recording.plain import Plain, lengths_of
from whence.why.recording.storage import Memory, Ref
from whence.why.recording.tape import Op

_PLAIN = {Tensor, nn.Parameter}
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class Memories:
    """The storages of a step by address, and a record for each tensor over them.

    Args:
        account: counts every byte that is kept.
    """

    def __init__(self, account: Account):
        self._account = account
        self._known: dict[int, Memory] = {}
        self._refs: dict[tuple, Ref] = {}
        self._plain = Plain()
        self._alive: list[torch.UntypedStorage] = []  # so that no other gets their address

    def __iter__(self):
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    @property
    def outside(self) -> int:
        """Bytes of what was there before the step."""
        return sum(memory.nbytes for memory in self if memory.outside)

    def ref(self, tensor: Tensor, writer: Op | None = None) -> Ref | None:
        """Return the record of a tensor as it is now; `None` if it has no memory to be read."""
        lengths = None
        if type(tensor) not in _PLAIN or not is_plain(tensor):
            lengths, found = lengths_of(tensor), self._plain.of(tensor)
            if found is None:
                return None
            tensor = found
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # what functorch puts around tensors
            return None
        memory = self._known.get(storage._cdata)
        if memory is None:
            if tensor._is_zerotensor():  # autograd's zeros, which have no memory
                self._alive.append(storage)
                content = torch.zeros(storage.nbytes(), dtype=torch.uint8).untyped_storage()
            else:
                content = storage
            memory = Memory(content, writer, outside=writer is None)
            memory.lengths = lengths
            memory.current.unseen = writer is None and maker(tensor) is not None
            self._known[storage._cdata] = memory
            self._account.pay(memory.nbytes)
        version = memory.versions[-1]
        offset, size, stride = int(tensor.storage_offset()), tensor.size(), tensor.stride()
        turned = tensor.is_conj(), tensor.is_neg()
        key = (version, offset, size, stride, tensor.dtype, turned)
        found = self._refs.get(key)
        if found is None:
            found = self._refs[key] = Ref(version, offset, size, stride, tensor.dtype, *turned)
            version.seen.append(found)
        return found

    def keep(self, target: Tensor) -> None:
        """Copy what is about to be overwritten, unless it was never written."""
        ref = self.ref(target)
        if ref is None:
            return
        version = ref.version
        writer = version.writer
        if writer is None or writer.name not in UNWRITTEN:
            rows = self._plain.of(target) if version.memory.lengths else None
            target = target if rows is None else rows
            version.kept.append((ref, target.clone()))
            if target.layout == torch.strided:  # a sparse one's parts are counted by themselves
                self._account.pay(target.nbytes)

    def free(self, storage: torch.UntypedStorage) -> None:
        """Keep what a storage holds before it is given another size."""
        memory = self._known.get(storage._cdata)
        if memory is not None:
            with _disable_current_modes():
                self._account.pay(memory.resized())

    def freeze(self) -> None:
        """Copy what the step leaves behind in tensors that others hold and may write to."""
        for memory in self:
            if torch._C._storage_Use_Count(memory.storage._cdata) > 1:
                memory.storage = memory.storage.clone()
                self._account.nbytes += memory.nbytes


def free(memories: list[Memory]) -> None:
    """Free all bytes at once.

    Operations and tensors point at each other, and such circles would wait for Python's garbage
    collector, which counts objects and doesn't know how large they are.
    """
    for memory in memories:
        memory.storage, memory.is_free = torch.UntypedStorage(0), True
        for version in memory.versions:
            version.kept.clear()


def maker(tensor: Tensor):
    """The node of autograd's graph that a tensor is the output of."""
    try:
        return tensor.grad_fn
    except RuntimeError:  # a view made without autograd of what was written to since
        return None


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor's numbers lie in memory of its own, by strides."""
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested)
