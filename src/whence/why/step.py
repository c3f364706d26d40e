"""Running one training step under the recorder: `trace`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.scale.limits import memory_left
from whence.why.receipts.first_bad import is_not_finite
from whence.why.receipts.formula import rules_of
from whence.why.receipts.layout.labels import Labels
from whence.why.recording.account import MemoryLimitError
from whence.why.recording.naming import ARGUMENT, PARAMETER
from whence.why.recording.recorder import Recorder
from whence.why.recording.storage import Ref
from whence.why.recording.titles import name_the_rest
from whence.why.trace import Live, Trace


def trace(
    fn: Callable[[], Any],
    *,
    model: nn.Module | None = None,
    optimizer: Any = None,
    tokens: Tensor | list[Tensor] | None = None,
    decode: Callable[[int], str] | None = None,
    where: Callable[[int, int], str] | None = None,
    budget: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> Trace:
    """Run one training step and record every number of it.

    The step runs by the kernels it would run by anyway, and leaves behind the same bits.

    Args:
        fn: runs the step: forward, backward, optimizer.step(), as much of it as is wanted.
        model: gives names to parameters and modules; else the one that `fn` refers to is found.
        optimizer: gives names to moments; likewise. One that isn't torch's gives its tensors by
            `state_dict()`: name of the parameter and kind → tensor.
        tokens: the token ids [B, T] that went in, one for each part of the batch; else those of
            the first embedding are taken.
        decode: token id → its text.
        where: (example, position) → where in the training text that token is.
        budget: bytes that the trace may keep; else what the machine has free.
        tell: is called with how many bytes the trace will keep, when the forward pass is done and
        nothing
            has been changed yet.

    Returns:
        The step's `Trace`. Where a number that isn't finite makes `fn` raise, as an optimizer or
        `clip_grad_norm_` may, it is the trace up to there, and `refused` says what was raised.

    Raises:
        WhenceError: the trace would need more memory than there is, or `fn` isn't a function.

    Example:
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> def step():
        ...     loss = (2 * w - 4) ** 2
        ...     loss.backward()
        >>> trace(step)["w"][()].grad.value
        8.0
    """
    if not callable(fn):
        raise WhenceError(
            f"trace runs a function without arguments that does one training step, and was given "
            f"{type(fn).__name__}: write it as def step(): … and give trace(step)."
        )
    found = _referred(fn)
    if model is None:
        models = {n: m for n, m in found.items() if isinstance(m, nn.Module)}
        model = (
            next(iter(models.values()))
            if len(models) == 1
            else (nn.ModuleDict(models) if models else None)
        )
    if optimizer is None:
        optimizer = next((o for o in found.values() if isinstance(o, torch.optim.Optimizer)), None)
    written = getattr(model, "_orig_mod", model)  # torch.compile's, as its author wrote it
    compiled, model = written is not model, written
    leaves = _parameters(model, found)
    budget = int(0.9 * memory_left()) if budget is None else budget
    recorder = Recorder(model, optimizer, budget, tell)
    namer = recorder.namer
    before: dict[str, Ref] = {}
    for name, tensor in {**leaves, **_state(optimizer, leaves)}.items():
        ref = recorder.ref(tensor)
        if ref is not None:
            before[name] = ref
            namer.give(name, ref, PARAMETER)
            recorder.account.moved += tensor.nbytes
            if name in leaves:
                ref.version.fixed = True
                recorder.account.trainable += tensor.nbytes
                recorder.gradients.before[id(tensor)] = (tensor, ref)
    for name, value in found.items():
        if isinstance(value, Tensor) and name not in leaves:
            namer.give(name, recorder.ref(value), ARGUMENT)
    modules = {} if model is None else dict(model.named_modules())
    rules = rules_of(optimizer, {id(p): name for name, p in reversed(leaves.items())})
    live = Live(fn, leaves, modules, torch.get_rng_state())
    result, refused = None, ""
    try:
        with recorder, warnings.catch_warnings():
            # Our hooks, which name the modules, fire once more for a compiled one: it has no name.
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            result = fn()
    except (WhenceError, ArithmeticError, RuntimeError, ValueError) as error:
        if isinstance(error, MemoryLimitError) or not is_not_finite(recorder):
            raise
        refused = str(error)
    recorder.gradients.settle()
    after: dict[str, Ref] = {}
    state = _state(optimizer, leaves)
    for name, tensor in {**leaves, **state}.items():
        ref = recorder.ref(tensor)
        if ref is not None:
            after[name] = ref
    result = _detached(result)
    recorder.memories.freeze()
    parameters = {n: before[n] for n in leaves if n in before}
    name_the_rest(recorder, parameters, before, after)
    ids = [t.numpy(force=True) for t in ([tokens] if isinstance(tokens, Tensor) else tokens or [])]
    memories = {ref.version.memory for ref in [*before.values(), *after.values()]}
    recurrent = {name for name, module in modules.items() if isinstance(module, nn.RNNBase)}
    labels = Labels.of(recorder.ops, ids, decode, where, memories, recurrent)
    done = Trace(recorder, parameters, after, result, labels, live, rules)
    if refused:
        done.refused = refused
        done.notes.append(f"traced up to where the step was refused: {refused}")
    elif not done.has_backward:
        done.notes.append(done.without_a_loss())
    if compiled:
        done.notes.append(
            "the module is compiled, but was run as it is written: a compiled step may round "
            "otherwise, and its numbers may differ in their last digits"
        )
    return done


def _referred(fn: Callable[[], Any]) -> dict[str, Any]:
    """Return what a function refers to by name: variables around it and what it is bound to."""
    inner: Any = getattr(fn, "func", fn)  # functools.partial
    inner = getattr(inner, "__func__", inner)  # a bound method
    if not inspect.isfunction(inner):
        return {}
    variables = inspect.getclosurevars(inner)
    return {**variables.globals, **variables.nonlocals}


def _parameters(model: nn.Module | None, found: dict[str, Any]) -> dict[str, Tensor]:
    if model is not None:
        return dict(model.named_parameters(remove_duplicate=False))
    leaves: dict[str, Tensor] = {}
    for name, value in found.items():
        several = value if isinstance(value, list | tuple) else [value]
        for i, one in enumerate(several):
            if isinstance(one, Tensor) and one.is_leaf and one.requires_grad:
                leaves[name if several[0] is value else f"{name}.{i}"] = one
    return leaves


def _state(optimizer: Any, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimizer's tensors as `parameter.kind`."""
    if isinstance(optimizer, torch.optim.Optimizer):
        names = {id(tensor): name for name, tensor in reversed(leaves.items())}
        return {
            f"{names[id(param)]}.{kind}": value
            for param, kinds in optimizer.state.items()
            if id(param) in names
            for kind, value in kinds.items()
            if isinstance(value, Tensor)
        }
    return {} if optimizer is None else dict(optimizer.state_dict())


def _detached(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.detach().clone()
    if isinstance(result, Mapping):
        return {k: _detached(v) for k, v in result.items()}
    if isinstance(result, tuple | list):
        return [_detached(v) for v in result]
    return result
