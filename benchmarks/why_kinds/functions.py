"""Elementary functions, rounding, comparison, reductions and random draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.why_kinds.making import Kind, applied

# Functions of one number by the interval where they are smooth.
_ANYWHERE = (
    "abs arctan arcsinh asinh atan ceil cos cosh deg2rad erf erfc exp exp2 expm1 fix floor frac "
    "i0 isfinite neg rad2deg relu round rsqrt sigmoid sign signbit sin sinc sinh sqrt square "
    "tan tanh trunc positive logical_not isposinf isneginf"
)
_UNIT = "acos asin atanh arccos arcsin arctanh erfinv logit log1p digamma lgamma reciprocal"
_ABOVE = "log log2 log10 acosh rsqrt sqrt"
_SPECIAL = "bessel_j0 bessel_j1 ndtr log_ndtr ndtri entr erfcx i0e i1 i1e"
_TWO = (
    "atan2 hypot fmod remainder copysign maximum minimum fmax fmin logaddexp "
    "logaddexp2 xlogy pow ldexp dist cross"
)


def _ints(call: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: call((x * 10).int(), torch.tensor(3)) * x


def _drawn(call: Callable[[Tensor], Tensor]) -> Kind:
    return applied(call, (4, 5), low=0.5, high=2.0)


def _quantised(x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7)


def _quantised_by_channel(x: Tensor) -> Tensor:
    scale, zero = torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(x, scale, zero, 0, -8, 7)


def _learned_step(x: Tensor, scale: Tensor) -> Tensor:
    zero = torch.zeros(1)
    return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, -8, 7, 1.0)


def _distribution(make: Callable[[Tensor], torch.distributions.Distribution]) -> Kind:
    def sampled(x: Tensor) -> Tensor:
        d = make(x)
        value = d.rsample() if d.has_rsample else d.sample()
        return d.log_prob(value).sum() + value.sum()

    return _drawn(sampled)


D = torch.distributions

KINDS: dict[str, Kind] = {
    **{n: applied(getattr(torch, n), (3, 4), low=0.2, high=1.3) for n in _ANYWHERE.split()},
    **{n: applied(getattr(torch, n), (3, 4), low=0.1, high=0.9) for n in _UNIT.split()},
    **{
        f"{n}, above 1": applied(getattr(torch, n), (3, 4), low=1.1, high=3) for n in _ABOVE.split()
    },
    **{n: applied(getattr(torch.special, n), (3, 4), low=0.2, high=0.8) for n in _SPECIAL.split()},
    **{n: applied(getattr(torch, n), (4, 3), (4, 3), low=0.3, high=2) for n in _TWO.split()},
    "floor_divide": applied(lambda x, y: (x.detach() // y.detach()) * x, (3, 4), (3, 4)),
    "heaviside": applied(lambda x: torch.heaviside(x.detach(), torch.tensor(0.5)) * x, (3, 4)),
    "polygamma": applied(lambda x: torch.polygamma(1, x), (3, 4), low=0.5, high=2),
    "multigammaln": applied(lambda x: torch.mvlgamma(x, 2), (3, 4), low=1.5, high=3),
    "zeta": applied(lambda x: torch.special.zeta(x.detach() + 1, 1.0) * x, (3,), low=1, high=2),
    "round to decimals": applied(lambda x: x.round(decimals=1) * x, (3, 4)),
    "nan_to_num": applied(lambda x: (x.sqrt()).nan_to_num(0.5), (3, 4)),
    "shifts": applied(_ints(lambda i, k: (i << k) + (i >> 1)), (3, 4), low=0.0),
    "bits": applied(_ints(lambda i, k: (i & k) + (i | k) + (i ^ k)), (3, 4), low=0.0),
    "integer division": applied(_ints(lambda i, k: i // k + i % k), (3, 4)),
    "float to int": applied(lambda x: x * (x * 7).long() + (x * 3).int().float(), (3, 4)),
    "gcd": applied(_ints(lambda i, k: torch.gcd(i, k) + torch.lcm(i, k)), (3, 4), low=0.1),
    "clamp between tensors": applied(lambda x, y: x.clamp(-y.abs(), y.abs()), (3, 4), (3, 4)),
    "lerp": applied(lambda x, y, w: torch.lerp(x, y, w.sigmoid()), (3, 4), (3, 4), (3, 4)),
    "addcmul": applied(lambda x, y, z: torch.addcmul(x, y, z, value=0.3), (3, 4), (3, 4), (3, 4)),
    "addcdiv": applied(lambda x, y, z: torch.addcdiv(x, y, z), (3,), (3,), (3,), low=0.5),
    "where": applied(lambda x, y: torch.where(x > y, x, y.exp()), (3, 4), (3, 4)),
    "comparisons": applied(lambda x, y: ((x > y) & (x != y) | (x <= 0)) * x, (3, 4), (3, 4)),
    "isclose": applied(lambda x, y: torch.isclose(x, y, atol=0.3) * x, (3, 4), (3, 4)),
    "var_mean": applied(lambda x: torch.var_mean(x, 1), (3, 4)),
    "std_mean": applied(lambda x: torch.std_mean(x, 1), (3, 4)),
    "aminmax": applied(lambda x: torch.aminmax(x, dim=1), (3, 4)),
    "extremes": applied(lambda x: (x.max(), x.min(), x.amax(1), x.amin(0)), (3, 4)),
    "nansum": applied(lambda x: x.nansum(1) + x.nanmean(1), (3, 4)),
    "prod": applied(lambda x: x.prod(1) + x.prod(), (3, 4)),
    "norms": applied(lambda x: [x.norm(p, 1) for p in (1, 2, 3, 0, torch.inf, -torch.inf)], (3, 4)),
    "renorm": applied(lambda x: torch.renorm(x, 2, 0, 0.5), (3, 4)),
    "count_nonzero": applied(lambda x: x.count_nonzero(1) * x.sum(1), (3, 4)),
    "diff, gradient": applied(lambda x: (x.diff(dim=1), torch.gradient(x)[0]), (3, 4)),
    "trapezoid": applied(lambda x: torch.trapezoid(x, dim=1), (3, 4)),
    "cov, corrcoef": applied(lambda x: (torch.cov(x), torch.corrcoef(x)), (3, 6)),
    "fake quantisation": applied(_quantised, (3, 4)),
    "fake quantisation by channel": applied(_quantised_by_channel, (4, 3)),
    "learned step size": applied(_learned_step, (3, 4), (1,), low=0.2, high=0.4),
    "normal": _distribution(lambda x: D.Normal(x, x)),
    "log-normal": _distribution(lambda x: D.LogNormal(x, x)),
    "gamma": _distribution(lambda x: D.Gamma(x, x)),
    "beta": _distribution(lambda x: D.Beta(x, x)),
    "Dirichlet": _distribution(lambda x: D.Dirichlet(x)),
    "Student's t": _distribution(lambda x: D.StudentT(x + 2)),
    "Laplace": _distribution(lambda x: D.Laplace(x, x)),
    "Gumbel": _distribution(lambda x: D.Gumbel(x, x)),
    "Cauchy": _distribution(lambda x: D.Cauchy(x, x)),
    "Weibull": _distribution(lambda x: D.Weibull(x, x)),
    "Pareto": _distribution(lambda x: D.Pareto(x, x)),
    "Kumaraswamy": _distribution(lambda x: D.Kumaraswamy(x, x)),
    "von Mises": _distribution(lambda x: D.VonMises(x, x)),
    "Poisson": _distribution(lambda x: D.Poisson(x)),
    "Bernoulli": _distribution(lambda x: D.Bernoulli(logits=x)),
    "geometric": _distribution(lambda x: D.Geometric(logits=x)),
    "binomial": _distribution(lambda x: D.Binomial(5, logits=x)),
    "categorical": _distribution(lambda x: D.Categorical(logits=x)),
    "multivariate normal": _distribution(
        lambda x: D.MultivariateNormal(x[0], covariance_matrix=torch.eye(5) + x.T @ x)
    ),
    "mixture": _distribution(
        lambda x: D.MixtureSameFamily(D.Categorical(logits=x), D.Normal(x, x))
    ),
    "relaxed Bernoulli": _distribution(lambda x: D.RelaxedBernoulli(torch.tensor(0.5), logits=x)),
}
