"""Losses whose gradients are checked: of small models, and of runs in double precision."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from whence.data.table import table_of
from whence.errors import WhenceError
from whence.models.small.line import COFFEE_SHOP, Line, Scale, squared_error
from whence.models.small.mlp import MLP, half_squared_error, initial
from whence.play.texts.messages import MESSAGES
from whence.play.texts.words import WordClassifier, classification_loss
from whence.play.worked import example
from whence.scalar import Matrix
from whence.scalar.hand import name_elements, name_parameters
from whence.scalar.matrix import values_of


class Subject(NamedTuple):
    """What is checked: a loss to compute again, and every parameter by its name."""

    loss: Callable[[], Any]
    parameters: dict[str, tuple[Any, tuple[int, ...] | None]]


def subject_of(model: str) -> Subject:
    """Return what is checked: a built-in small model, or the folder of a run.

    Raises:
        WhenceError: there is none of that name.
    """
    if model == "net":
        given = example("three")
        net = MLP([(Matrix(W), Matrix(b)) for W, b in given.layers])
        name_parameters(net.layers)
        part = (Matrix(given.x), Matrix(given.y))
        return Subject(lambda: half_squared_error(net, part), _values(net.parameters()))
    if model == "line":
        table = table_of(*COFFEE_SHOP)
        x, y = Matrix(Scale.of(table.rows).inside(table.rows)), [[t] for t in table.targets]
        line = Line(Matrix([[0.0]]), Matrix([[0.0]]))
        name_elements(line.start, "start")
        name_elements(line.change, "change")
        part = (x, Matrix(y))
        return Subject(lambda: squared_error(line, part), _values(line.parameters()))
    if model == "spam":
        words, loss = WordClassifier(MESSAGES), classification_loss(0.01)
        return Subject(lambda: loss(words, MESSAGES), _values(words.parameters()))
    if model == "mlp":
        return _mlp()
    if Path(model).is_dir():
        return _run(model)
    raise WhenceError(f"{model!r} isn't a run; give one, or one of line, net, mlp and spam.")


def _values(parameters: list[Any]) -> dict[str, tuple[Any, tuple[int, ...] | None]]:
    return {p.label or f"p{i}": (p, None) for i, p in enumerate(values_of(parameters))}


def _mlp() -> Subject:
    import torch

    draw = random.Random(1)
    layers = [
        (
            torch.tensor(W, dtype=torch.float64).requires_grad_(),
            torch.tensor(b, dtype=torch.float64).requires_grad_(),
        )
        for W, b in initial([3, 8, 8, 8, 1], "tanh", 1)
    ]
    x, y = (
        torch.tensor([[draw.gauss(0, 1) for _ in range(n)] for _ in range(20)]).double()
        for n in (3, 1)
    )
    mlp = MLP(layers, "tanh")
    named = {f"{'Wb'[i % 2]}{i // 2 + 1}": p for i, p in enumerate(mlp.parameters())}
    return Subject(lambda: half_squared_error(mlp, (x, y)), _Elements(named))


class _Elements(dict[str, Any]):
    """Names like `weight[3,7]` of the elements of tensors, made when they are asked for."""

    def __init__(self, named: dict[str, Any]) -> None:
        super().__init__()
        self.named = named

    def __missing__(self, name: str) -> tuple[Any, tuple[int, ...]]:
        found = re.fullmatch(r"(.+)\[([\d,\s]+)\]", name)
        tensor: Any = self.named.get(found[1]) if found else None
        index = tuple(int(i) for i in found[2].split(",")) if found else ()
        shape = () if tensor is None else tuple(tensor.shape)
        if not index or len(index) != len(shape) or any(map(int.__ge__, index, shape)):
            raise WhenceError(f"{name!r} isn't a parameter; there are {_few(self.named)}.")
        return tensor, index


def _run(path: str) -> Subject:
    import torch

    from whence.runs.run import Run

    run = Run.open(path)
    run.refuse_counted()
    # In double precision, where a difference of losses still has digits; two examples are enough.
    model = run.model("last").double().eval().requires_grad_()
    ((_, part), *_) = run.batches[0]
    rows = {name: x[:2] for name, x in part._asdict().items() if isinstance(x, torch.Tensor)}
    few, named = part._replace(**rows), dict(model.named_parameters())
    return Subject(lambda: run.task.loss(model, few), _Elements(named))


def chosen(subject: Subject, parameter: str | None, count: int, seed: int) -> list[str]:
    """Return the names of the parameters to check: the one that is named, or some that are drawn.

    Raises:
        WhenceError: there is none of that name.
    """
    draw = random.Random(seed)
    everything = subject.parameters
    if not isinstance(everything, _Elements):
        if parameter is None:
            names = list(everything)
            return names if len(names) <= count else sorted(draw.sample(names, k=count))
        if parameter not in everything:
            raise WhenceError(f"{parameter!r} isn't a parameter; there are {_few(everything)}.")
        return [parameter]
    if parameter is not None and parameter not in everything.named:
        _ = everything[parameter]  # says so where there is no such one
        return [parameter]
    if parameter is not None:
        return [_steepest(subject, parameter, everything.named[parameter])]
    drawn = []
    for _ in range(count):
        name = draw.choice(list(everything.named))
        index = [draw.randrange(n) for n in everything.named[name].shape]
        drawn.append(f"{name}[{','.join(map(str, index))}]")
    return drawn


def _steepest(subject: Subject, name: str, tensor: Any) -> str:
    """Return the element with the largest gradient."""
    tensor.grad = None
    subject.loss().backward()
    grad: Any = tensor.grad
    k = int(grad.abs().argmax())
    index = []
    for n in reversed(tensor.shape):
        k, i = divmod(k, n)
        index.append(str(i))
    return f"{name}[{','.join(reversed(index))}]"


def _few(names: dict[str, Any]) -> str:
    shown = list(names)[:8]
    return ", ".join(shown) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
