"""Which gradient belongs to which tensor: each node of autograd's graph is asked as it runs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch._C._autograd import _get_sequence_nr as _sequence_number  # pyright: ignore

from whence.why.recording.memories import Memories, maker
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Op, flatten


class Gradients:
    """Links the tensors of a step to their gradients.

    Args:
        memories: gives the record of a tensor.

    Attributes:
        pairs: (tensor, its gradient), in the order of the backward pass.
        losses: the tensors that `backward()` was called on.
        before: the parameters, each with its record as it was before the step.
    """

    def __init__(self, memories: Memories):
        self._memories = memories
        self.pairs: list[tuple[Ref, Ref]] = []
        self.losses: list[Ref] = []
        self.before: dict[int, tuple[Tensor, Ref]] = {}
        self._leaves: dict[int, Tensor] = {}
        self._made: dict[tuple[int, int], Ref] = {}
        self._by_sequence: dict[int, Op] = {}
        self._hooked: set[Any] = set()
        self._linked: set[Ref] = set()
        self._last_sequence = -1

    def forward_of(self, node: int) -> Op | None:
        """Return the operation whose gradient a node works out."""
        return self._by_sequence.get(node)

    def number(self, op: Op) -> None:
        """Note which node of autograd's graph this operation belongs to, if one was made for it."""
        newest = _sequence_number() - 1  # each thread counts for itself
        if newest > self._last_sequence and flatten(op.args, Ref):
            op.sequence = self._last_sequence = newest
            self._by_sequence[newest] = op

    def held(self, tensor: Tensor) -> Ref | None:
        """Return the record of a tensor, and note which node of autograd's graph made it.

        Some nodes stand for several operations, or for none that is seen, as of custom functions.
        """
        ref = self._memories.ref(tensor)
        if ref is None or ref in self._linked or not tensor.requires_grad:
            return ref
        if (node := maker(tensor)) is not None:
            self._linked.add(ref)
            self._made[node._sequence_nr(), tensor.output_nr] = ref
        return ref

    def follow(self, todo: list[Any]) -> None:
        """Ask each node of the graph behind some for the gradient that reaches it."""
        seen = set(todo)
        while todo:
            node = todo.pop()
            variable = getattr(node, "variable", None)  # only leaves have one
            if variable is not None:
                self._leaves[id(variable)] = variable
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
            op = self._by_sequence.get(sequence)
            outputs = [] if op is None else op.outputs
            for i, gradient in enumerate(gradients):
                output = self._made.get((sequence, i)) or next(iter(outputs[i : i + 1]), None)
                if output is not None and gradient is not None:
                    ref = self._memories.ref(gradient)
                    if ref is not None and ref.size == output.size:
                        ref.version.carries = True
                        self.pairs.append((output, ref))

        node.register_prehook(note)

    def returned(self, asked: list[tuple[Tensor, Tensor]]) -> None:
        """Note the gradients that a backward pass returned, and what each leaf was left with."""
        for tensor, gradient in asked:
            ours, its = self._memories.ref(tensor), self._memories.ref(gradient)
            if ours is not None and its is not None:
                its.version.carries = True
                self.pairs.append((ours, its))
        for leaf in self._leaves.values():
            if leaf.grad is not None:
                ours, its = self._memories.ref(leaf), self._memories.ref(leaf.grad)
                if ours is not None and its is not None:
                    self.pairs.append((ours, its))

    def settle(self) -> None:
        """Link each parameter as it was before the step to a gradient, where none is linked yet.

        Such are a parameter that the forward pass wrote to, and a gradient that was put in `.grad`
        by hand. What autograd holds is let go of.
        """
        linked = {ref for ref, _ in self.pairs}
        for tensor, before in self.before.values():
            if before in linked:
                continue
            same = (g for ref, g in self.pairs if ref.version.memory is before.version.memory)
            found = next((g for g in same if g.size == before.size), None)
            if found is None and tensor.grad is not None:
                found = self._memories.ref(tensor.grad)
            if found is not None:
                found.version.carries = True
                self.pairs.append((before, found))
        self.before.clear()
        self._leaves.clear()
