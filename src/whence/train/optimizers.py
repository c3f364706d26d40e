"""SGD, momentum, AdamW and Muon: each update as its formula, on lists of tensors at once.

PyTorch is imported by the updates alone: a recipe is read without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from whence.errors import WhenceError
from whence.fields import check_fields

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Tensors = dict[str, Tensor]
else:
    Tensors = dict

# One (a, b, c) for each step x ← a·x + b·(xxᵀ)x + c·(xxᵀ)²x.
# Jordan's triple is the same at every step; Polar Express (arXiv 2505.16932) has the best triple
# for each, given what the step before left over. Its triples assume singular values of at most 1
# (at most 2 after a step) and blow up a little above, where rounding may lead: x is taken as
# x/1.01.
JORDAN = ((3.4445, -4.7750, 2.0315),) * 5
POLAR_EXPRESS = tuple(
    (a / 1.01, b / 1.01**3, c / 1.01**5)
    for a, b, c in (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845749373, 0.4188073119525673),
    )
)

Role = Literal["matrix", "embedding", "head", "other"]


class OptimizerState(Tensors):
    """What an optimizer keeps from step to step: `<parameter>.<kind>` → tensor, zeros at first.

    Example:
        >>> import torch
        >>> state = OptimizerState()
        >>> state.tensors("m", ["w"], [torch.ones(2)])
        [tensor([0., 0.])]
        >>> list(state)
        ['w.m']
    """

    def tensors(self, kind: str, names: Sequence[str], params: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of one kind, in the order of the parameters.

        Args:
            kind: what is kept, such as `m`.
            names: of the parameters.
            params: the parameters; what wasn't kept yet has their shape.
        """
        import torch

        for name, param in zip(names, params, strict=True):
            if f"{name}.{kind}" not in self:
                self[f"{name}.{kind}"] = torch.zeros_like(param)
        return [self[f"{name}.{kind}"] for name in names]


@dataclass
class Moving:
    """What one update moves: parameters of one rule, with their gradients, rates and state.

    Where the model is split among processes, they are this process's shares; `owners` are the
    parameters as PyTorch knows them.

    θ ← θ − rate · f(gradient, state) is what a rule does with them.

    Attributes:
        names: of the parameters.
        params: their tensors, to be changed in place.
        grads: their gradients.
        owners: the parameters as PyTorch knows them.
        rates: the learning rate of each.
        kept: the optimizer's state.
        step: how many updates there have been, this one included.
        matmul_dtype: what matrix products are computed in.

    Example:
        >>> import torch
        >>> w, g = torch.ones(2), torch.tensor([0.5, 0.0])
        >>> moving = Moving(["w"], [w], [g], [w], [0.1], OptimizerState(), 1, torch.float32)
        >>> moving.state("momentum")
        [tensor([0., 0.])]
    """

    names: list[str]
    params: list[Tensor]
    grads: list[Tensor]
    owners: Sequence[Tensor]
    rates: list[float]
    kept: OptimizerState
    step: int
    matmul_dtype: torch.dtype

    def state(self, kind: str) -> list[Tensor]:
        """Return the tensors of one kind that were kept from the steps before, zeros at first."""
        return self.kept.tensors(kind, self.names, self.params)


def _check(config, **bounds):
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if name == "betas" and len(value) != 2:
            raise WhenceError(f"optimizer.betas has {len(value)} numbers: give β₁ and β₂.")
        several = value if isinstance(value, tuple) else (value,)
        if not all(low <= number < high for number in several):
            limit = "or more" if high == math.inf else f"or more and below {high:g}"
            told = " ".join(f"{number:g}" for number in several)
            raise WhenceError(f"optimizer.{name} is {told}: give {low:g} {limit}.")


@dataclass(frozen=True)
class SGDConfig:
    """Gradient descent, with momentum where it isn't 0: `b ← μ·b + g`, `θ ← θ − η·(b + λ·θ)`.

    With `momentum = 0` it is `θ ← θ − η·(g + λ·θ)`. With `nesterov` the step looks ahead:
    `θ ← θ − η·(g + μ·b)`. As in PyTorch, the first b is the first gradient, and λ·θ is part of g.

    Attributes:
        learning_rate: η.
        momentum: μ.
        nesterov: look ahead (Sutskever et al. 2013).
        weight_decay: λ, a pull towards 0 added to the gradient.
        max_grad_norm: the gradient of all parameters together is scaled down to this norm; 0: off.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> SGDConfig(learning_rate=0.1).learning_rate
        0.1
    """

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0

    def __post_init__(self):
        check_fields(self, "optimizer.")
        _check(self, learning_rate=(0, math.inf), momentum=(0, 1), weight_decay=(0, math.inf))
        _check(self, max_grad_norm=(0, math.inf))

    def rate(self, role: Role) -> float:
        """Return the peak learning rate of a parameter with this role."""
        return self.learning_rate

    def update(self, moving: Moving) -> None:
        """Move the parameters one step, in place."""
        import torch

        params, grads = moving.params, moving.grads
        if self.weight_decay:
            grads = torch._foreach_add(grads, params, alpha=self.weight_decay)
        if self.momentum:
            buffers = moving.state("momentum")
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, grads)
            if self.nesterov:
                grads = torch._foreach_add(grads, buffers, alpha=self.momentum)
            else:
                grads = buffers
        _descend(params, grads, moving.rates)


@dataclass(frozen=True)
class AdamWConfig:
    """Adam with decoupled weight decay (Kingma and Ba 2014; Loshchilov and Hutter 2017).

    `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `m̂ = m/(1−β₁ᵗ)`, `v̂ = v/(1−β₂ᵗ)`,
    `θ ← (1 − ηλ)·θ − η·m̂/(√v̂ + ε)`, with t from 1.

    Attributes:
        learning_rate: η, for all but the embedding and the head where those have their own.
        embedding_rate: η of embedding tables; None: as learning_rate.
        head_rate: η of the output head; None: as learning_rate.
        betas: β₁ and β₂, how slowly the means of the gradient and of its square forget.
        eps: ε, keeps the division finite.
        weight_decay: λ, on matrices and embeddings (not on norms and biases).
        max_grad_norm: the gradient of all parameters together is scaled down to this norm; 0: off.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> AdamWConfig().rate("matrix")
        0.001
    """

    learning_rate: float = 1e-3
    embedding_rate: float | None = None
    head_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self):
        check_fields(self, "optimizer.")
        _check(self, learning_rate=(0, math.inf), betas=(0, 1), eps=(0, math.inf))
        _check(self, weight_decay=(0, math.inf), max_grad_norm=(0, math.inf))

    def rate(self, role: Role) -> float:
        """Return the peak learning rate of a parameter with this role."""
        own = {"embedding": self.embedding_rate, "head": self.head_rate}.get(role)
        return self.learning_rate if own is None else own

    def update(self, moving: Moving) -> None:
        """Move the parameters one step, in place, by torch's one kernel for all of it if it can."""
        import torch

        kinds = {(p.dtype, p.device.type) for p in moving.params}
        if kinds in ({(torch.float32, "cpu")}, {(torch.float32, "cuda")}):
            self._by_kernel(moving)
        else:
            self._by_formula(moving)

    def _by_formula(self, moving: Moving) -> None:
        import torch

        params, grads = moving.params, moving.grads
        beta1, beta2 = self.betas
        m, v = moving.state("m"), moving.state("v")
        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        if self.weight_decay:
            for param, rate in zip(params, moving.rates, strict=True):
                param.mul_(1 - rate * self._decay(param))
        t = moving.step + 1
        denominators = torch._foreach_sqrt(v)
        torch._foreach_div_(denominators, math.sqrt(1 - beta2**t))
        torch._foreach_add_(denominators, self.eps)
        shares = [-rate / (1 - beta1**t) for rate in moving.rates]
        torch._foreach_addcdiv_(params, m, denominators, shares)

    def _by_kernel(self, moving: Moving) -> None:
        """The fused form of the formula: one pass over the numbers instead of eight."""
        import torch

        beta1, beta2 = self.betas
        columns = zip(
            moving.params, moving.grads, moving.state("m"), moving.state("v"), strict=True
        )
        together: dict[tuple[float, float], list[tuple[Tensor, ...]]] = {}
        for rate, column in zip(moving.rates, columns, strict=True):
            together.setdefault((rate, self._decay(column[0])), []).append(column)
        # Filled where it is read: a copy to a GPU would wait for all that is still to do there.
        t = torch.full((), float(moving.step + 1), device=moving.params[0].device)
        for (rate, decay), members in together.items():
            params, grads, m, v = map(list, zip(*members, strict=True))
            torch._fused_adamw_(
                params, grads, m, v, [], [t] * len(params), lr=rate, beta1=beta1,
                beta2=beta2, weight_decay=decay, eps=self.eps, amsgrad=False, maximize=False,
            )  # fmt: skip

    def _decay(self, param: Tensor) -> float:
        return self.weight_decay if param.ndim >= 2 else 0.0


@dataclass(frozen=True)
class MuonConfig:
    """Momentum made orthogonal, for matrices; AdamW for the rest (Jordan et al. 2024).

    `b ← μ·b + (1−μ)·g`, `u = (1−μ)·g + μ·b`, `θ ← (1 − ηλ)·θ − η·√max(1, rows/columns)·UVᵀ`,
    where `u = UΣVᵀ`. The Newton–Schulz steps `x ← a·x + b·(xxᵀ)x + c·(xxᵀ)²x` reach UVᵀ nearly,
    with matrix products alone. `coefficients` chooses their triples: one repeated (Jordan) or one
    for each step (Polar Express).

    Attributes:
        learning_rate: η of the matrices inside the model.
        momentum: μ.
        weight_decay: λ, on those matrices.
        coefficients: the triples of the Newton–Schulz steps.
        orthogonalize_steps: how many of the triples are used.
        embedding_rate: AdamW's rate for embedding tables.
        head_rate: AdamW's rate for the output head.
        other_rate: AdamW's rate for biases, gains and whatever else isn't a matrix.
        betas: AdamW's β₁ and β₂.
        eps: AdamW's ε.
        max_grad_norm: the gradient of all parameters together is scaled down to this norm; 0: off.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> MuonConfig().rate("matrix"), MuonConfig().rate("embedding")
        (0.03, 0.1)
    """

    learning_rate: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.1
    coefficients: Literal["jordan", "polar-express"] = "polar-express"
    orthogonalize_steps: int = 3
    embedding_rate: float = 0.1
    head_rate: float = 0.02
    other_rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    max_grad_norm: float = 0.0

    def __post_init__(self):
        check_fields(self, "optimizer.")
        _check(self, learning_rate=(0, math.inf), momentum=(0, 1), betas=(0, 1))
        _check(self, weight_decay=(0, math.inf), max_grad_norm=(0, math.inf), eps=(0, math.inf))
        if not 1 <= self.orthogonalize_steps <= len(POLAR_EXPRESS):
            raise WhenceError(
                f"optimizer.orthogonalize_steps is {self.orthogonalize_steps}: give 1 to "
                f"{len(POLAR_EXPRESS)}."
            )

    def rate(self, role: Role) -> float:
        """Return the peak learning rate of a parameter with this role."""
        return {
            "matrix": self.learning_rate,
            "embedding": self.embedding_rate,
            "head": self.head_rate,
            "other": self.other_rate,
        }[role]

    @property
    def triples(self) -> tuple[tuple[float, float, float], ...]:
        """The (a, b, c) of each Newton–Schulz step that is taken."""
        every = {"jordan": JORDAN, "polar-express": POLAR_EXPRESS}[self.coefficients]
        return every[: self.orthogonalize_steps]

    @property
    def rest(self) -> AdamWConfig:
        """The AdamW that moves what isn't a matrix."""
        return AdamWConfig(betas=self.betas, eps=self.eps)

    def update(self, moving: Moving) -> None:
        """Move the matrices one step, in place."""
        import torch

        from whence.train.shards import share_of, whole_of  # with PyTorch

        params, grads, rates = moving.params, moving.grads, moving.rates
        momentum = moving.state("momentum")
        torch._foreach_lerp_(momentum, grads, 1 - self.momentum)
        ahead = torch._foreach_lerp(grads, momentum, self.momentum)
        owners = moving.owners
        matrices = [whole_of(share, owner) for share, owner in zip(ahead, owners, strict=True)]
        directions = orthogonalize(matrices, self.triples, moving.matmul_dtype)
        directions = [share_of(d, owner) for d, owner in zip(directions, owners, strict=True)]
        if self.weight_decay:
            torch._foreach_mul_(params, [1 - rate * self.weight_decay for rate in rates])
        scales = [math.sqrt(max(1.0, p.shape[0] / p.shape[1])) for p in owners]
        _descend(params, directions, [r * s for r, s in zip(rates, scales, strict=True)])


def orthogonalize(
    matrices: Sequence[Tensor],
    triples: tuple[tuple[float, float, float], ...] = POLAR_EXPRESS,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Bring each matrix near UVᵀ, its singular values near 1, by Newton–Schulz steps.

    `x ← x/‖x‖`, then for each triple `x ← a·x + b·(xxᵀ)x + c·(xxᵀ)²x`. Matrices of one shape go
    through each product together.

    Args:
        matrices: float32, each [rows, columns].
        triples: (a, b, c) of each step.
        dtype: what the products are computed in; None for float32.

    Returns:
        The matrices [rows, columns], in float32.

    Example:
        >>> import torch
        >>> near = orthogonalize([torch.tensor([[3.0, 0.0], [0.0, -2.0]])])[0]
        >>> bool((near.abs().diagonal() - 1).abs().max() < 0.15)
        True
    """
    import torch

    together: dict[tuple[int, ...], list[int]] = {}
    for i, matrix in enumerate(matrices):
        together.setdefault(tuple(sorted(matrix.shape)), []).append(i)
    result: list[Tensor] = [torch.empty(0)] * len(matrices)
    for members in together.values():
        wide = [matrices[i] if _is_wide(matrices[i]) else matrices[i].mT for i in members]
        x = torch.stack(wide)  # [n, short, long]
        norms = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        x = (x / norms.clamp(min=1e-7)).to(dtype or torch.float32)
        for a, b, c in triples:
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        for i, near in zip(members, x.float().unbind(), strict=True):
            result[i] = near if _is_wide(matrices[i]) else near.mT
    return result


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _descend(params, directions, rates):
    for param, direction, rate in zip(params, directions, rates, strict=True):
        param.add_(direction, alpha=-rate)


OptimizerConfig = SGDConfig | AdamWConfig | MuonConfig
OPTIMIZERS: dict[str, OptimizerConfig] = {
    "muon": MuonConfig(),
    "adamw": AdamWConfig(),
    "sgd": SGDConfig(),
    "momentum": SGDConfig(momentum=0.9),
}


# By which formula `whence.why` opens what each does to a weight.
RULES: dict[type, str] = {SGDConfig: "sgd", AdamWConfig: "adam", MuonConfig: "muon"}


def rule_of(config: OptimizerConfig) -> str:
    """Return the name of the formula by which an update is opened, "" for one of the user's own.

    Example:
        >>> rule_of(AdamWConfig())
        'adam'

    Args:
        config: of the optimizer.

    Source:
        `whence.why.rules` has the formulas, θ ← θ − η·(…), by these names.
    """
    return RULES.get(type(config), "")


def add_optimizer(name: str, config: SGDConfig) -> None:
    """Add an optimizer of your own, so that recipes can name it and runs with it can be opened.

    A run's folder holds its name and its settings, never its code: each program that opens such a
    run, to resume, rewind or open a step, adds it first.

    Args:
        name: what run.toml calls it.
        config: of a frozen dataclass that derives from `SGDConfig`, with its own `update` and any
            settings besides; its state it gets from `moving.state`.

    Raises:
        WhenceError: where the name is taken, or the class isn't such a one.

    Example:
        >>> @dataclass(frozen=True)
        ... class SignSGD(SGDConfig):
        ...     def update(self, moving):
        ...         for param, grad, rate in zip(moving.params, moving.grads, moving.rates):
        ...             param.sub_(rate * grad.sign())
        >>> add_optimizer("signsgd", SignSGD(learning_rate=0.001))
        >>> OPTIMIZERS.pop("signsgd").learning_rate
        0.001
    """
    kind = type(config)
    if not issubclass(kind, SGDConfig) or kind is SGDConfig or "update" not in vars(kind):
        raise WhenceError(
            f"{kind.__name__} can't be added: derive a frozen dataclass from "
            "whence.train.optimizers.SGDConfig and give it an update(self, moving)."
        )
    if type(OPTIMIZERS.get(name, config)) is not kind or not name.isidentifier():
        raise WhenceError(f"an optimizer can't be called {name!r}: choose another name.")
    OPTIMIZERS[name] = config
