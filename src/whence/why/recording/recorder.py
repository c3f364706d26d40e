"""The recorder: every operation of a step, run by its native kernel and kept with its numbers.

Operations are seen below autograd, where forward, backward and update are all alike, and are never
taken apart while they run: a traced step gives the same bits as one that isn't traced.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode_stack,
)

from whence.why.recording.account import Account
from whence.why.recording.calls import backward_calls, branches, flexible_attention, freed_memory
from whence.why.recording.gradients import Gradients
from whence.why.recording.memories import Memories, is_plain
from whence.why.recording.naming import Namer
from whence.why.recording.plain import Opaque, entries_of, is_wrapper, kind_of
from whence.why.recording.storage import Ref, Version
from whence.why.recording.tape import Op, flatten, fresh, replace, written

_SILENT = {"profiler", "prim"}


class Recorder(TorchDispatchMode):
    """Keeps the operations and tensors of what runs inside `with recorder:`.

    Args:
        model: whose modules give names to the tensors, if there is one.
        optimizer: what updates it, likewise.
        budget: bytes that may be kept; `None` for no limit.
        tell: is called with how many bytes the trace will keep, once the forward pass is done.
        within: the fused operation that what is recorded stands for, if any.

    Attributes:
        ops: the operations, in order.
        account: the bytes that are kept.
        memories: the storages.
        gradients: which gradient belongs to which tensor.
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
        self.account = Account(budget, tell, optimizer is not None)
        self.memories = Memories(self.account)
        self.gradients = Gradients(self.memories)
        self.namer = Namer(self.gradients.held, model, optimizer)
        self.within = within
        self.ops: list[Op] = []
        self._backward: list[int] = []  # threads in a backward pass, once for each pass
        self._lock = threading.RLock()
        self._runs: Counter[tuple] = Counter()
        self._calls = ExitStack()

    def __enter__(self) -> Recorder:
        self.namer.open()
        told = backward_calls(self._begin_backward, self._end_backward, self._here)
        for calls in (told, branches(), flexible_attention(), freed_memory(self.memories.free)):
            self._calls.enter_context(calls)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._calls.close()
        self.namer.close()

    def ref(self, tensor: Tensor, writer: Op | None = None) -> Ref | None:
        """Return the record of a tensor as it is now; `None` if it has no memory to be read."""
        return self.memories.ref(tensor, writer)

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
        if _is_composite(func) and all(map(is_plain, flatten(args, Tensor))):
            # Inference mode leaves these whole.
            with _views_seen(), _Again(self):
                return func._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        node, inside = torch._C._current_autograd_node(), threading.get_ident() in self._backward
        if node is None:
            if not inside:
                self.namer.look()
        elif not self._backward:
            self.gradients.follow([node])  # begun by a call that could not be seen
        op = Op(
            self._ordinal(),
            func,
            replace(args, Tensor, self._seen),
            replace(kwargs, Tensor, self._seen),
            module=self.namer.module,
        )
        if node is not None:
            op.phase, op.node = "backward", node._sequence_nr()
            op.forward = self.gradients.forward_of(op.node)
        elif inside:
            op.phase, op.carries = "backward", True  # what autograd begins with
        if torch.is_grad_enabled() and (node is not None or not inside):
            self.gradients.number(op)  # also what a backward pass runs again, or keeps a graph of
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
        # With a scale, the fused optimizers divide the gradients by it where they lie.
        scaled = kwargs.get("grad_scale") is not None
        for i, name in written(func, scaled):
            targets += flatten(args[i] if i < len(args) else kwargs.get(name), Tensor)
        for target in targets:
            self.memories.keep(target)
        result = func(*args, **kwargs)
        if args and isinstance(args[0], Tensor) and args[0].layout is torch.sparse_coo:
            op.remember("entries", lambda: entries_of(args[0]))
        self._note_results(op, result)
        if targets:
            self._note_writes(op, targets)
        if not _has_no_memory(result):
            self.ops.append(op)
        return result

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

    def _begin_backward(self, roots: list[Tensor]) -> None:
        self.namer.look(everywhere=True)
        if not self.gradients.losses:
            self.account.foresee(self.memories.outside)
        for root in roots:
            if (ref := self.gradients.held(root)) is not None and not self._backward:
                self.gradients.losses.append(ref)
        self.gradients.follow([root.grad_fn for root in roots if root.grad_fn is not None])
        self._backward.append(threading.get_ident())

    def _here(self) -> AbstractContextManager[None]:
        """Record what runs in it, also in a thread that was started since."""
        recording = self in _get_current_dispatch_mode_stack()
        return nullcontext() if recording else _Again(self)

    def _end_backward(self, asked: list[tuple[Tensor, Tensor]]) -> None:
        self._backward.remove(threading.get_ident())
        self.gradients.returned(asked)


@functools.cache
def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others, and has no kernel of its own."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    name = func.name()
    return has(name, "CompositeImplicitAutograd") and not (has(name, "CPU") or has(name, "CUDA"))


def _has_no_memory(result: Any) -> bool:
    """Whether an operation only worked out a shape: it made no number."""
    made = flatten(result, Tensor)
    return bool(made) and all(tensor.is_meta for tensor in made)


@contextmanager
def _views_seen() -> Iterator[None]:
    """Let views know whose views they are, as they do outside of a mode.

    By that some operations choose among kernels: a matrix product asks whether a weight's transpose
    wants a gradient.
    """
    known = torch._C._dispatch_tls_local_exclude_set().remove(DispatchKey.ADInplaceOrView)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), known):
        yield


class _Again:
    """Lets a recorder see operations while it handles one."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def __enter__(self) -> None:
        TorchDispatchMode.__enter__(self.recorder)

    def __exit__(self, *error: Any) -> None:
        TorchDispatchMode.__exit__(self.recorder, *error)
