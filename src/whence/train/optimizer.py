"""What the loop steps: gradients checked and clipped, each parameter moved by its rule."""

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.train.optimizers import (
    Moving,
    MuonConfig,
    OptimizerConfig,
    OptimizerState,
    Role,
    rule_of,
)
from whence.train.schedules import Schedule
from whence.train.shards import own, whole


class NotFiniteError(WhenceError):
    """A gradient held a NaN or an infinity; nothing was updated."""


def roles(model: nn.Module) -> dict[str, Role]:
    """Tell for each parameter of a model what part it plays.

    Embedding tables are `embedding`, the weight of the module named `head` is `head`, other
    two-dimensional weights are `matrix`, and the rest (biases, gains) is `other`. A tied weight
    counts once, as an embedding.

    Example:
        >>> list(roles(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))).values())
        ['embedding', 'matrix', 'other']
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    result: dict[str, Role] = {}
    for name, param in model.named_parameters():
        if id(param) in tables:
            result[name] = "embedding"
        elif param.ndim != 2:
            result[name] = "other"
        else:
            result[name] = "head" if name == "head.weight" else "matrix"
    return result


class Optimizer:
    """A chain: check that every gradient is finite, clip, update by the rule of each parameter.

    Args:
        model: its parameters are moved, in place; frozen ones (`requires_grad = False`) are not.
        config: an `SGD`, `AdamW` or `Muon`.
        schedule: the rate's factor of its peak at each step.
        steps: the length of the run, for the schedule.
        matmul_dtype: what Muon's matrix products are computed in.

    Raises:
        NotFiniteError: from `step`, before anything has moved, naming the parameters.

    Attributes:
        index: the number of the next step, from 0.
        grad_norm: the norm of the last step's gradient before clipping.
        rate: the last step's learning rate.

    Example:
        >>> from whence.train.optimizers import SGDConfig
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(0.5)
        >>> rule = SGDConfig(learning_rate=0.1)
        >>> optimizer = Optimizer(model, rule, Schedule("constant", 0), steps=1)
        >>> model.weight.grad = torch.tensor([[-0.2]])
        >>> optimizer.step()
        >>> round(model.weight.item(), 6)
        0.52
    """

    def __init__(
        self,
        model: nn.Module,
        config: OptimizerConfig,
        schedule: Schedule,
        steps: int,
        matmul_dtype: torch.dtype = torch.float32,
    ):
        self.config, self.schedule, self.steps = config, schedule, steps
        self.matmul_dtype = matmul_dtype
        self.index, self.grad_norm, self.rate = 0, 0.0, 0.0
        self.state = OptimizerState()
        part = roles(model)
        self.named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.peaks = {name: config.rate(part[name]) for name in self.named}
        self.rules: dict[OptimizerConfig, list[str]] = {}
        for name in self.named:
            rule = config
            if isinstance(config, MuonConfig) and part[name] != "matrix":
                rule = config.rest
            self.rules.setdefault(rule, []).append(name)

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        for param in self.named.values():
            param.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient; refuse, and move none, if one isn't finite."""
        factor = self.schedule.factor(self.index, self.steps)
        self.rate = self.config.learning_rate * factor
        self._check_and_clip()
        self.update(factor)
        self.index += 1

    @torch.no_grad()
    def update(self, factor: float = 1.0) -> None:
        """Move every parameter that has a gradient, whatever the gradient is.

        Args:
            factor: of the peak rates.
        """
        for rule, names in self.rules.items():
            grads = {n: g for n in names if (g := self.named[n].grad) is not None}
            owners = [self.named[n] for n in grads]
            moving = Moving(
                names=list(grads),
                params=[own(p) for p in owners],
                grads=[own(g) for g in grads.values()],
                owners=owners,
                rates=[self.peaks[n] * factor for n in grads],
                kept=self.state,
                step=self.index,
                matmul_dtype=self.matmul_dtype,
            )
            if moving.names:
                rule.update(moving)

    def _check_and_clip(self) -> None:
        grads = {n: g for n, p in self.named.items() if (g := p.grad) is not None}
        norms = torch.stack(torch._foreach_norm(list(grads.values())))
        self.grad_norm = whole(torch.linalg.vector_norm(norms)).item()
        if not math.isfinite(self.grad_norm):
            culprits = [name for name, grad in grads.items() if not whole(grad).isfinite().all()]
            raise NotFiniteError(
                f"step {self.index}: the gradient of {', '.join(culprits[:3]) or 'the model'}"
                f"{f' and {len(culprits) - 3} more' if len(culprits) > 3 else ''} is not finite: "
                "nothing was updated; lower optimizer.learning_rate or set optimizer.max_grad_norm."
            )
        limit = self.config.max_grad_norm
        if limit and self.grad_norm > limit:
            torch._foreach_mul_([own(g) for g in grads.values()], limit / self.grad_norm)

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return by which rule the next step moves each parameter: its rate, betas and so on.

        Example:
            >>> from whence.train.optimizers import SGDConfig
            >>> model = nn.Linear(1, 1, bias=False)
            >>> optimizer = Optimizer(model, SGDConfig(0.1), Schedule("constant", 0), steps=1)
            >>> optimizer.settings()["weight"]["learning_rate"]
            0.1
        """
        factor = self.schedule.factor(self.index, self.steps)
        found: dict[str, dict[str, Any]] = {}
        for rule, names in self.rules.items():
            kind = rule_of(rule)
            own = (
                {"triples": rule.triples, "nesterov": True} if isinstance(rule, MuonConfig) else {}
            )
            for name in names:
                decay = rule.weight_decay if kind != "adam" or self.named[name].ndim > 1 else 0.0
                found[name] = {
                    **asdict(rule), **own, "rule": kind, "learning_rate": self.peaks[name] * factor,
                    "weight_decay": decay, "decoupled": True, "t": self.index + 1,
                }  # fmt: skip
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return the optimizer's state: name of the parameter and kind → tensor."""
        return dict(self.state)

    def load_state_dict(self, tensors: dict[str, Tensor], index: int) -> None:
        """Take back what `state_dict` gave, and the number of the next step."""
        for name, tensor in tensors.items():
            owner = self.named.get(name.rpartition(".")[0])
            if owner is None or owner.shape != tensor.shape:
                raise WhenceError(
                    f"the saved optimizer state {name} doesn't fit any parameter of the model."
                )
            self.state[name] = tensor.to(owner.device, copy=True)
        self.index = index
