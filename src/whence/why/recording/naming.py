"""Names for tensors: the module that made them, or the variable of the code that held them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from whence.why.recording.storage import Ref
from whence.why.recording.tape import flatten

# Which name is shown where a tensor has several: the lowest.
PARAMETER, OUTPUT, VARIABLE, ARGUMENT, UNNAMED = range(5)

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # whence/why/
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_TOLD = (os.path.join(_TORCH, "optim") + os.sep, os.path.join(_TORCH, "nn", "utils", "clip"))


class Namer:
    """Follows the running code and gives its names to the tensors it holds.

    Args:
        ref: gives the record of a tensor.
        model: its modules' paths are the first part of a name.
        optimizer: its variables are named after the parameter that they belong to.

    Attributes:
        module: path of the module that runs now.
        names: the record of each name.
        held: (variable, record) of what variables and lists of the optimizer held: which parameter
            it belongs to is known only later.
    """

    def __init__(
        self, ref: Callable[[Tensor], Ref | None], model: nn.Module | None, optimizer: Any
    ):
        self.ref = ref
        self.names: dict[str, Ref] = {}
        self.held: list[tuple[str, Ref | None]] = []
        self.paths: dict[int, str] = {}
        if model is not None:
            self.paths = {id(m): name for name, m in model.named_modules()}
        self._modules = {name for name in self.paths.values() if name}
        self.owners = {**self.paths, id(optimizer): "optimizer"}
        self._given: dict[str, list[Ref]] = {}
        self._seen_lists: set[tuple] = set()
        self._stack: list[str] = []
        self._last: FrameType | None = None
        self._handles: list[Any] = []
        self._thread = threading.get_ident()

    @property
    def module(self) -> str:
        """Path of the module that runs now, "" outside of any and in other threads."""
        here = threading.get_ident() == self._thread
        return self._stack[-1] if self._stack and here else ""

    def open(self) -> None:
        """Begin to follow modules as they are called."""
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        ]

    def close(self) -> None:
        """Look at the variables a last time and drop everything."""
        if self._last is not None:
            self._scan_chain(self._last)
        for handle in self._handles:
            handle.remove()
        self._handles, self._last = [], None
        self._stack.clear()

    def give(self, name: str, ref: Ref | None, rank: int) -> None:
        """Name a tensor; a second one with the same name is `name#2`, and so on."""
        if ref is None:
            return
        given = self._given.setdefault(name, [])
        if any(ref is one for one in given):
            return
        given.append(ref)
        full = name if len(given) == 1 else f"{name}#{len(given)}"
        self.names[full] = ref
        ref.version.names.append((rank, full, ref))

    def _enter(self, module: nn.Module, _: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        path = self.paths.get(id(module))
        self._stack.append(self.module if path is None else path)

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        elsewhere = threading.get_ident() != self._thread
        if not elsewhere:
            self._stack.pop()
        path = self.paths.get(id(module))
        if path is None:
            return
        if elsewhere:
            for tensor in flatten(output, Tensor):
                if (ref := self.ref(tensor)) is not None and ref.version.writer is None:
                    ref.version.unseen = True
        if isinstance(output, Tensor):
            self.give(path or "output", self.ref(output), OUTPUT)
        elif isinstance(output, Mapping):  # what transformers' models return
            for key, value in output.items():
                if isinstance(value, Tensor):
                    self.give(f"{path}.{key}" if path else str(key), self.ref(value), OUTPUT)
        elif isinstance(output, tuple | list):
            self._leave_tuple(path or "output", output)

    def _leave_tuple(self, path: str, output: tuple | list) -> None:
        first = True
        for value in output:
            for one in value if isinstance(value, tuple | list) else [value]:
                if isinstance(one, Tensor):
                    name = path if first else f"{path}.state"  # as LSTMs return (y, (h, c))
                    self.give(name, self.ref(one), OUTPUT)
                    first = False

    def look(self, everywhere: bool = False) -> None:
        """Name what the variables of the running code hold by now.

        Args:
            everywhere: look at all frames, not only where something can have changed.
        """
        frame = _user_frame(sys._getframe(1))
        if frame is None:
            return
        last = self._last
        if last is frame and not everywhere:
            self._scan(frame, self._prefix(frame))
            return
        if last is not None:
            self._scan_chain(last)
        self._last = frame
        self._scan_chain(frame)

    def _scan_chain(self, frame: FrameType) -> None:
        """Scan a frame and those that called it, the outermost first."""
        prefix = ""
        for one in reversed(list(_user_frames(frame))):
            prefix = self._owner(one) or prefix
            self._scan(one, prefix)

    def _prefix(self, frame: FrameType) -> str:
        return next((p for f in _user_frames(frame) if (p := self._owner(f))), "")

    def _owner(self, frame: FrameType) -> str:
        code = frame.f_code
        if not code.co_argcount or code.co_varnames[0] != "self":
            return ""
        return self.owners.get(id(frame.f_locals.get("self")), "")

    def _scan(self, frame: FrameType, prefix: str) -> None:
        optimizer = prefix == "optimizer"
        for variable, value in list(frame.f_locals.items()):
            if isinstance(value, Tensor):
                if optimizer:
                    self.held.append((variable, self.ref(value)))
                else:
                    self._name_variable(prefix, variable, value)
            elif optimizer and isinstance(value, list) and value and isinstance(value[0], Tensor):
                key = (id(frame), variable, id(value), len(value))
                if key not in self._seen_lists:
                    self._seen_lists.add(key)
                    self.held += [(variable, self.ref(t)) for t in value if isinstance(t, Tensor)]

    def _name_variable(self, prefix: str, variable: str, value: Tensor) -> None:
        ref = self.ref(value)
        if ref is None or any(r is ref and k == PARAMETER for k, _, r in ref.version.names):
            return
        name = f"{prefix}.{variable}" if prefix else variable
        known = [n for _, n, r in ref.version.names if r is ref]
        if name in self._modules:
            if any(n.partition("#")[0] == name for n in known):
                return  # the module's output, held by a variable of the same name
            name += ".local"
        new = not known
        self.give(name, ref, VARIABLE if new else ARGUMENT)


_KNOWN: dict[CodeType, bool] = {}


def _is_user(code: CodeType) -> bool:
    known = _KNOWN.get(code)
    if known is None:
        path = code.co_filename
        known = _KNOWN[code] = not path.startswith(("<frozen", _HERE)) and (
            not path.startswith(_TORCH) or path.startswith(_TOLD)
        )
    return known


def _user_frame(frame: FrameType | None) -> FrameType | None:
    return next(_user_frames(frame), None)


def _user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the code that is traced, from the innermost outwards."""
    while frame is not None:
        if _is_user(frame.f_code):
            yield frame
        elif frame.f_code.co_name == "trace" and frame.f_code.co_filename.startswith(_HERE):
            return
        frame = frame.f_back
