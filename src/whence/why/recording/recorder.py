"""The recorder: every operation of a step, run by its native kernel and kept with its numbers.

Operations are seen below autograd, where forward, backward and update are all alike, and are never
taken apart while they run: a traced step gives the same bits as one that isn't traced.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._C._autograd import _get_sequence_nr as _sequence_number  # pyright: ignore
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode_stack,
)

from whence.errors import WhenceError, in_bytes
from whence.why.recording.calls import backward_calls, branches, freed_memory
from whence.why.recording.naming import Namer
from whence.why.recording.plain import Opaque, Plain, is_wrapper, kind_of
from whence.why.recording.storage import Memory, Ref, Version
from whence.why.recording.tape import Op, flatten, fresh, replace, written

_SILENT = {"profiler", "prim"}
_PLAIN = {Tensor, nn.Parameter}
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class MemoryLimitError(WhenceError):
    """The trace would need more memory than it may have."""


class Recorder(TorchDispatchMode):
    """Keeps the operations and tensors of what runs inside `with recorder:`.

    Args:
        model: whose modules give names to the tensors, if there is one.
        optimizer: what updates it, likewise.
        budget: bytes that may be kept; `None` for no limit.
        tell: is told how many bytes the trace will keep, once the forward pass is done.
        within: the fused operation that what is recorded stands for, if any.

    Attributes:
        ops: the operations, in order.
        memories: the storages, by address.
        gradients: (tensor, its gradient) pairs, in the order of the backward pass.
        losses: the tensors that `backward()` was called on.
        nbytes: bytes kept so far.
        trainable: bytes of the parameters.
        moved: bytes of these and of the optimiser's tensors.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        model: nn.Module | None,
        optimizer: Any,
        budget: int | None = None,
        tell: Callable[[int], None] | None = None,
        within: Op | None = None,
    ):
        super().__init__()
        self.namer = Namer(self.held, model, optimizer)
        self.budget, self.tell, self.within = budget, tell, within
        self.moving = optimizer is not None
        self.ops: list[Op] = []
        self.memories: dict[int, Memory] = {}
        self.gradients: list[tuple[Ref, Ref]] = []
        self.losses: list[Ref] = []
        self.leaves: dict[int, Tensor] = {}
        self.before: dict[int, tuple[Tensor, Ref]] = {}
        self.made: dict[tuple[int, int], Ref] = {}
        self.nbytes = self.trainable = self.moved = 0
        self._refs: dict[tuple, Ref] = {}
        self._plain = Plain()
        self._alive: list[torch.UntypedStorage] = []  # so that no other gets their address
        self.by_sequence: dict[int, Op] = {}
        self._hooked: set[Any] = set()
        self._linked: set[Ref] = set()
        self._backward: list[
            int
        ] = []  # threads in a backward pass, one for each pass within another
        self._lock = threading.RLock()
        self._last_sequence = -1
        self._runs: Counter[tuple] = Counter()
        self._calls = ExitStack()

    def __enter__(self) -> Recorder:
        self.namer.open()
        told = backward_calls(self.begin_backward, self.end_backward, self._here)
        for calls in (told, branches(), freed_memory(self._free)):
            self._calls.enter_context(calls)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._calls.close()
        self.namer.close()

    def ref(self, tensor: Tensor, writer: Op | None = None) -> Ref | None:
        """Return the record of a tensor as it is now; `None` if it has no memory to be read."""
        if type(tensor) not in _PLAIN or not _is_plain(tensor):
            found = self._plain.of(tensor)
            if found is None:
                return None
            tensor = found
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            return None  # what functorch puts around tensors
        memory = self.memories.get(storage._cdata)
        if memory is None:
            if tensor._is_zerotensor():  # autograd's zeros, which have no memory
                self._alive.append(storage)
                content = torch.zeros(storage.nbytes(), dtype=torch.uint8).untyped_storage()
            else:
                content = storage
            memory = Memory(content, writer, outside=writer is None)
            memory.current.unseen = writer is None and _maker(tensor) is not None
            self.memories[storage._cdata] = memory
            self._pay(memory.nbytes)
        version = memory.versions[-1]
        offset, size, stride = int(tensor.storage_offset()), tensor.size(), tensor.stride()
        turned = tensor.is_conj(), tensor.is_neg()
        key = (version, offset, size, stride, tensor.dtype, turned)
        found = self._refs.get(key)
        if found is None:
            found = self._refs[key] = Ref(version, offset, size, stride, tensor.dtype, *turned)
            version.seen.append(found)
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        with self._lock:
            return self._run(func, types, args, kwargs or {})

    def _run(self, func: Any, types: Any, args: tuple, kwargs: dict) -> Any:
        if isinstance(func, HigherOrderOperator):
            return self._higher(func, args, kwargs)
        if func.namespace in _SILENT or FakeTensor in types:
            return func(*args, **kwargs)
        if any(map(is_wrapper, types)):
            return NotImplemented  # it runs on what it wraps, and comes here again
        if _is_composite(func) and all(map(_is_plain, flatten(args, Tensor))):
            # Inference mode leaves these whole.
            with _Again(self):
                return func._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        node, inside = torch._C._current_autograd_node(), threading.get_ident() in self._backward
        if node is None:
            if not inside:
                self.namer.look()
        elif not self._backward:
            self._walk([node])  # begun by a call that could not be seen
        op = Op(
            self._ordinal(),
            func,
            replace(args, Tensor, self._seen),
            replace(kwargs, Tensor, self._seen),
            module=self.namer.module,
        )
        if node is not None:
            op.phase, op.node = "backward", node._sequence_nr()
            op.forward = self.by_sequence.get(op.node)
        elif inside:
            op.phase, op.carries = "backward", True  # what autograd begins with
        if torch.is_grad_enabled() and (node is not None or not inside):
            self._number(op)  # also what a backward pass runs again, or keeps a graph of
        if op.forward is not None:
            op.run = op.forward.run
        else:
            self._runs[op.module, func] += 1
            op.run = self._runs[op.module, func]
        if self.within is not None:
            op.phase = self.within.phase
        inputs = flatten([*op.args, *op.kwargs.values()], Ref)
        op.fixed = bool(inputs) and all(ref.fixed for ref in inputs)
        if op.phase == "backward" and not op.carries:
            op.carries = any(ref.carries for ref in flatten(op.args, Ref))
        targets: list[Tensor] = []
        # With a scale, the fused optimisers divide the gradients by it where they lie.
        scaled = kwargs.get("grad_scale") is not None
        for i, name in written(func, scaled):
            targets += flatten(args[i] if i < len(args) else kwargs.get(name), Tensor)
        for target in targets:
            self._keep(target)
        result = func(*args, **kwargs)
        self._note_results(op, result)
        if targets:
            self._note_writes(op, targets)
        self.ops.append(op)
        return result

    def held(self, tensor: Tensor) -> Ref | None:
        """Return the record of a tensor, and note which node of autograd's graph made it.

        Some nodes stand for several operations, or for none that is seen, as of custom functions.
        """
        ref = self.ref(tensor)
        if ref is None or ref in self._linked or not tensor.requires_grad:
            return ref
        if (node := _maker(tensor)) is not None:
            self._linked.add(ref)
            self.made[node._sequence_nr(), tensor.output_nr] = ref
        return ref

    def _free(self, storage: torch.UntypedStorage) -> None:
        """Keep what a storage holds before it is given another size."""
        memory = self.memories.get(storage._cdata)
        if memory is not None:
            with _disable_current_modes():
                self._pay(memory.resized())

    def _seen(self, tensor: Tensor) -> Ref | Opaque:
        return self.ref(tensor) or Opaque(kind_of(tensor))

    def _higher(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Run what takes functions, such as `while_loop`, by the operations in them."""
        kernel = func.py_kernels.get(DispatchKey.CompositeExplicitAutograd)
        if kernel is None:
            return func(*args, **kwargs)
        with _Again(self):
            return kernel(*args, **kwargs)

    def _ordinal(self) -> float:
        count = len(self.ops)
        return count if self.within is None else self.within.ordinal - 1 + (count + 1) * 2.0**-24

    def _number(self, op: Op) -> None:
        """Note which node of autograd's graph this operation belongs to, if one was made for it."""
        newest = _sequence_number() - 1  # each thread counts for itself
        if newest > self._last_sequence and flatten(op.args, Ref):
            op.sequence = self._last_sequence = newest
            self.by_sequence[newest] = op

    def _keep(self, target: Tensor) -> None:
        """Copy what is about to be overwritten, unless it was never written."""
        ref = self.ref(target)
        if ref is None:
            return
        version = ref.version
        writer = version.writer
        if writer is None or writer.name not in UNWRITTEN:
            version.kept.append((ref, target.clone()))
            if (
                target.layout == torch.strided
            ):  # the parts of a sparse one are counted by themselves
                self._pay(target.nbytes)

    def _note_results(self, op: Op, result: Any) -> None:
        results = result if isinstance(result, tuple) else (result,)
        for is_fresh, one in zip(fresh(op.func), results, strict=False):
            if not is_fresh:
                continue
            for tensor in flatten(one, (Tensor, type(None))):
                before = len(self.memories)
                ref = None if tensor is None else self.ref(tensor, op)
                if ref is not None:
                    if len(self.memories) > before:
                        ref.version.regions.append((ref, len(op.outputs)))
                    else:
                        op.alias = True
                op.outputs.append(ref)

    def _note_writes(self, op: Op, targets: list[Tensor]) -> None:
        """Begin a new version of every storage that was written."""
        begun: set[int] = set()
        for target in targets:
            known = len(self.memories)
            ref = self.ref(target, op)
            if ref is None:
                op.outputs.append(None)
                continue
            memory = ref.version.memory
            if id(memory) not in begun:
                begun.add(id(memory))
                if len(self.memories) == known:  # else it was given new memory, as by set_
                    memory.versions.append(Version(memory, len(memory.versions), op))
            ref = self.ref(target)
            assert ref is not None
            ref.version.regions.append((ref, len(op.outputs)))
            op.outputs.append(ref)

    def _pay(self, nbytes: int) -> None:
        self.nbytes += nbytes
        if self.budget is not None and self.nbytes > self.budget:
            self._refuse(self.nbytes, "already keeps")

    def begin_backward(self, roots: list[Tensor]) -> None:
        """Ask each node of the graph for the gradient that reaches it."""
        self.namer.look(everywhere=True)
        if not self.losses:
            self._foresee()
        for root in roots:
            if (ref := self.held(root)) is not None and not self._backward:
                self.losses.append(ref)
        self._walk([root.grad_fn for root in roots if root.grad_fn is not None])
        self._backward.append(threading.get_ident())

    def _here(self) -> AbstractContextManager[None]:
        """Record what runs in it, also in a thread that was started since."""
        recording = self in _get_current_dispatch_mode_stack()
        return nullcontext() if recording else _Again(self)

    def _foresee(self) -> None:
        """Say how much the whole step will need, and refuse before anything has been changed.

        A backward pass makes about as much as the forward pass did, and a gradient for each
        parameter. An update replaces the parameters and the optimiser's tensors, which are kept
        before and after, and passes through some more tensors of the parameters' size.
        """
        outside = sum(m.nbytes for m in self.memories.values() if m.outside)
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

    def _walk(self, todo: list[Any]) -> None:
        seen = set(todo)
        while todo:
            node = todo.pop()
            variable = getattr(node, "variable", None)  # only leaves have one
            if variable is not None:
                self.leaves[id(variable)] = variable
            else:
                self._hook(node)
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    todo.append(following)

    def _hook(self, node: Any) -> None:
        sequence = node._sequence_nr()
        if sequence in self._hooked:
            return
        self._hooked.add(sequence)

        def note(gradients: tuple[Tensor | None, ...]) -> None:
            op = self.by_sequence.get(sequence)
            outputs = [] if op is None else op.outputs
            for i, gradient in enumerate(gradients):
                output = self.made.get((sequence, i)) or next(iter(outputs[i : i + 1]), None)
                if output is not None and gradient is not None:
                    ref = self.ref(gradient)
                    if ref is not None and ref.size == output.size:
                        ref.version.carries = True
                        self.gradients.append((output, ref))

        node.register_prehook(note)

    def end_backward(self, asked: list[tuple[Tensor, Tensor]]) -> None:
        """Note the gradient that each leaf was left with, and those that were returned."""
        self._backward.remove(threading.get_ident())
        for tensor, gradient in asked:
            ours, its = self.ref(tensor), self.ref(gradient)
            if ours is not None and its is not None:
                its.version.carries = True
                self.gradients.append((ours, its))
        for leaf in self.leaves.values():
            if leaf.grad is not None:
                ours, its = self.ref(leaf), self.ref(leaf.grad)
                if ours is not None and its is not None:
                    self.gradients.append((ours, its))

    def settle(self) -> None:
        """Link each parameter as it was before the step to a gradient, where none is linked yet.

        Such are a parameter that the forward pass wrote to, and a gradient that was put in `.grad`
        by hand.
        """
        linked = {ref for ref, _ in self.gradients}
        for tensor, before in self.before.values():
            if before in linked:
                continue
            same = (g for ref, g in self.gradients if ref.version.memory is before.version.memory)
            found = next((g for g in same if g.size == before.size), None)
            if found is None and tensor.grad is not None:
                found = self.ref(tensor.grad)
            if found is not None:
                found.version.carries = True
                self.gradients.append((before, found))
        self.before.clear()

    def freeze(self) -> None:
        """Copy what the step leaves behind in tensors that others hold and may write to."""
        for memory in self.memories.values():
            if torch._C._storage_Use_Count(memory.storage._cdata) > 1:
                memory.storage = memory.storage.clone()
                self.nbytes += memory.nbytes


@functools.cache
def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others, and has no kernel of its own."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    name = func.name()
    return has(name, "CompositeImplicitAutograd") and not (has(name, "CPU") or has(name, "CUDA"))


def _maker(tensor: Tensor) -> Any:
    """The node of autograd's graph that a tensor is the output of."""
    try:
        return tensor.grad_fn
    except RuntimeError:  # a view made without autograd of what was written to since
        return None


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested)


class _Again:
    """Lets a recorder see operations while it handles one."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def __enter__(self) -> None:
        TorchDispatchMode.__enter__(self.recorder)

    def __exit__(self, *error: Any) -> None:
        TorchDispatchMode.__exit__(self.recorder, *error)
