"""Sampling: from the logits of the next token to the token that is taken."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.fields import check_fields

SMALL = 1e-6  # temperatures below it are handled apart, so that nothing overflows


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked from its probabilities.

    Attributes:
        temperature: the logits are divided by it: below 1 the likely get likelier, above 1 the
            unlikely do; 0 always takes the likeliest ("greedy").
        top_k: keep the k likeliest tokens alone (those level with the last of them too).
        top_p: keep the fewest tokens whose probabilities add up to at least p.
        min_p: drop tokens less likely than min_p times the likeliest.

    The filters come in this order, each working on what the ones before it left.

    Raises:
        WhenceError: a setting out of its range.

    Example:
        >>> Sampling(temperature=0.8, top_k=50).top_k
        50

    Source:
        top-p: Holtzman et al., 2019; min-p: Nguyen et al., 2024.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 <= self.temperature < math.inf):
            raise WhenceError(
                f"temperature is {self.temperature}: it must be 0 (always the likeliest token) or "
                "a finite number above 0, such as 0.8."
            )
        if self.top_k is not None and self.top_k < 1:
            raise WhenceError(f"top_k is {self.top_k}: it must be 1 or more tokens.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise WhenceError(f"top_p is {self.top_p}: it must be above 0 and at most 1.")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise WhenceError(f"min_p is {self.min_p}: it must be from 0 to 1.")


FEW = 512  # likeliest tokens that top-p looks at first: sorting a whole vocabulary is slow


def temper(logits: Tensor, temperature: float) -> Tensor:
    """Divide the logits by the temperature; at 0 the limit, the likeliest token alone.

    Args:
        logits: [..., V].
        temperature: 0 or more.

    Example:
        >>> temper(torch.tensor([1.0, 2.0]), 0.5), temper(torch.tensor([1.0, 2.0]), 0)
        (tensor([2., 4.]), tensor([-inf, 2.]))

    Formula: z / T, so that P(i) ∝ e^(zᵢ/T).

    Source:
        Ackley, Hinton and Sejnowski, "A learning algorithm for Boltzmann machines", 1985.
    """
    if temperature == 0:
        likeliest = logits.argmax(-1, keepdim=True)
        best = logits.gather(-1, likeliest)
        return torch.full_like(logits, -math.inf).scatter(-1, likeliest, best)
    if temperature < SMALL:  # so small that the largest logits would become infinite
        below = logits - logits.amax(-1, keepdim=True)
        return torch.where(below == 0, 0.0, below / temperature)
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits; the others become −∞.

    Example:
        >>> keep_top_k(torch.tensor([1.0, 3.0, 2.0]), 2)
        tensor([-inf, 3., 2.])

    Args:
        logits: [..., V].
        k: 1 or more.

    Source:
        Fan, Lewis and Dauphin, "Hierarchical neural story generation", 2018.
    """
    k = min(k, logits.shape[-1])
    least = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest tokens whose probabilities add up to at least p; the others become −∞.

    Example:
        >>> keep_top_p(torch.tensor([0.5, 0.2, 0.3]).log(), 0.7).exp()
        tensor([0.5000, 0.0000, 0.3000])

    Args:
        logits: [..., V].
        p: from 0 to 1.

    Source:
        Holtzman et al., "The curious case of neural text degeneration", 2020.
    """
    everything = logits.softmax(-1)
    if everything.numel() == everything.shape[-1] > FEW:  # one row; seldom is all of it needed
        row = everything.flatten()
        least = row.topk(FEW).values[-1]
        likely = (row >= least).nonzero().flatten()  # in the tokens' order, all ties among them
        probabilities, order = row[likely].sort(descending=True, stable=True)
        sums = probabilities.cumsum(-1)
        if sums[-1] >= p:
            kept = likely[order[sums - probabilities < p]]
            filtered = torch.full_like(logits, -math.inf).flatten()
            filtered[kept] = logits.flatten()[kept]
            return filtered.view_as(logits)
    probabilities, order = everything.sort(descending=True, stable=True)
    likelier = probabilities.cumsum(-1) - probabilities  # what the tokens ahead add up to
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, likelier >= p)
    return logits.masked_fill(drop, -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """The tokens at least p times as likely as the likeliest; the others become −∞.

    Example:
        >>> keep_min_p(torch.tensor([0.6, 0.1, 0.3]).log(), 0.4).exp()
        tensor([0.6000, 0.0000, 0.3000])

    Args:
        logits: [..., V].
        p: from 0 to 1.

    Source:
        Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs",
        2025.
    """
    probabilities = logits.softmax(-1)
    drop = probabilities < p * probabilities.amax(-1, keepdim=True)
    return logits.masked_fill(drop, -math.inf)


def filter_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Apply temperature and filters: what is dropped is −∞, softmax gives the probabilities.

    Args:
        logits: [..., V].
        sampling: the settings.

    Example:
        >>> filter_logits(torch.tensor([1.0, 3.0, 2.0]), Sampling(temperature=0.5, top_k=2))
        tensor([-inf, 6., 4.])
    """
    return _stages(logits, sampling)[-1][1]


def _stages(logits: Tensor, sampling: Sampling) -> list[tuple[str, Tensor]]:
    """The logits after each setting that is on, with its name, in order."""
    stages = [("temperature", temper(logits, sampling.temperature))]
    if sampling.top_k is not None:
        stages.append(("top_k", keep_top_k(stages[-1][1], sampling.top_k)))
    if sampling.top_p is not None:
        stages.append(("top_p", keep_top_p(stages[-1][1], sampling.top_p)))
    if sampling.min_p is not None:
        stages.append(("min_p", keep_min_p(stages[-1][1], sampling.min_p)))
    return stages


def pick(filtered: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Draw one token for each row of filtered logits, [B, V] → [B].

    A race: token i arrives after a time drawn from the exponential distribution with rate P(i), and
    the first one in wins, which is token i with probability P(i).

    Example:
        >>> rows = torch.tensor([[0.0, 9.0]])
        >>> pick(rows, Sampling(temperature=0), torch.Generator().manual_seed(0))
        tensor([1])

    Args:
        filtered: [B, V], −∞ for what a filter dropped.
        sampling: its temperature; at 0 the likeliest token is taken.
        generator: what the times are drawn from.
    """
    if sampling.temperature == 0:
        return filtered.argmax(-1)
    probabilities = filtered.softmax(-1)
    waiting = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waiting).argmax(-1)


@dataclass(frozen=True)
class Candidate:
    """One token that could come next, with every number on the way to its probability.

    Attributes:
        token_id: the token.
        logit: what the model gave it.
        scaled: logit / temperature (the logit itself at temperature 0).
        exp: exp(scaled − the largest scaled), the term of the softmax.
        before: probability before the filters: exp / the sum of exp over the vocabulary.
        after: probability after the filters, from which the token is drawn; 0 if dropped.
        dropped_by: "temperature" (0 keeps one token), "top_k", "top_p", "min_p", or None.
        drawn: whether this is the token that was taken.

    P = exp / Σ exp, before and after the filters.

    Example:
        >>> one = Candidate(7, 2.0, 2.0, 1.0, 0.88, 1.0, dropped_by=None, drawn=True)
        >>> one.before, one.after
        (0.88, 1.0)
    """

    token_id: int
    logit: float
    scaled: float
    exp: float
    before: float
    after: float
    dropped_by: str | None
    drawn: bool


@dataclass(frozen=True)
class Distribution:
    """What one token was drawn from. Make it with `Distribution.of`.

    Attributes:
        logits: [V].
        scaled: logits / temperature, [V].
        before: probabilities before the filters, [V].
        after: probabilities after the filters, [V].
        dropped_by: for each filter that is on, [V], True where it dropped the token.
        drawn: id of the token that was taken.

    Example:
        >>> d = Distribution.of(torch.tensor([1.0, 3.0, 2.0]), Sampling(top_k=2), drawn=1)
        >>> [(c.token_id, round(c.before, 3), round(c.after, 3), c.dropped_by) for c in d.top(3)]
        [(1, 0.665, 0.731, None), (2, 0.245, 0.269, None), (0, 0.09, 0.0, 'top_k')]
    """

    logits: Tensor
    scaled: Tensor
    before: Tensor
    after: Tensor
    dropped_by: dict[str, Tensor]
    drawn: int

    @classmethod
    def of(cls, logits: Tensor, sampling: Sampling, drawn: int) -> "Distribution":
        """The distribution of the token `drawn`, picked from logits [V] by these settings.

        Args:
            logits: [V].
            sampling: temperature and filters.
            drawn: the id that was taken.
        """
        stages = _stages(logits, sampling)
        scaled = logits / sampling.temperature if sampling.temperature else logits
        dropped_by, kept = {}, scaled
        for name, stage in stages:
            dropped_by[name] = stage.isneginf() & ~kept.isneginf()
            kept = stage
        return cls(logits, scaled, scaled.softmax(-1), kept.softmax(-1), dropped_by, drawn)

    def top(self, n: int) -> list[Candidate]:
        """The n likeliest candidates by the model, likeliest first; the drawn one is always there.

        If the drawn token isn't among the n likeliest, it comes as one more at the end.
        """
        order = self.logits.sort(descending=True, stable=True).indices[:n].tolist()
        return [self.candidate(i) for i in order + [self.drawn] * (self.drawn not in order)]

    def others(self, candidates: list[Candidate]) -> tuple[float, float]:
        """The probability of all tokens but these, before and after the filters."""
        rest = torch.ones_like(self.before, dtype=torch.bool)
        rest[[c.token_id for c in candidates]] = False
        return self.before[rest].sum().item(), self.after[rest].sum().item()

    def candidate(self, token_id: int) -> Candidate:
        """The numbers of one token."""
        i = token_id
        dropped = (name for name, where in self.dropped_by.items() if where[i])
        return Candidate(
            token_id=i,
            logit=self.logits[i].item(),
            scaled=self.scaled[i].item(),
            exp=(self.scaled[i] - self.scaled.max()).exp().item(),
            before=self.before[i].item(),
            after=self.after[i].item(),
            dropped_by=next(dropped, None),
            drawn=i == self.drawn,
        )
