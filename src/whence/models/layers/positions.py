"""Positions: how a model can know which token comes first."""

import math

import torch
from torch import Tensor, nn

from whence.models.layers.rope_scaling import RopeScaling

PLAIN = RopeScaling()


class LearnedPositions(nn.Embedding):
    """Add a learned vector for each place in the window: y[t] = x[t] + weight[t].

    Args:
        context_length: number of places.
        d_model: length of a vector.

    Shape:
        [B, T, D] → [B, T, D].

    Example:
        >>> LearnedPositions(64, 128)(torch.zeros(1, 10, 128)).shape
        torch.Size([1, 10, 128])

    Source:
        Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), 2019.
    """

    def __init__(self, context_length: int, d_model: int) -> None:
        super().__init__(context_length, d_model)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add the vectors of the places start, start + 1, … to x."""
        return x + self.weight[start : start + x.shape[1]]


class SinusoidalPositions(nn.Module):
    """Add waves of geometric wavelengths; nothing is learned.

    y[t, 2i] = x[t, 2i] + sin(t / 10000^(2i/D)) and y[t, 2i+1] = x[t, 2i+1] + cos(t / 10000^(2i/D)).

    Shape:
        [B, T, D] → [B, T, D]; D is even.

    Example:
        >>> SinusoidalPositions()(torch.zeros(1, 2, 4))[0, 1]
        tensor([0.8415, 0.5403, 0.0100, 0.9999])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017, section 3.5.
    """

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add the waves of the places start, start + 1, … to x."""
        angles = position_angles(start, x.shape[1], x.shape[2], 10000.0, x.device)  # [T, D/2]
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)  # [T, D]
        return x + waves.to(x.dtype)


class NoPositions(nn.Module):
    """Leave x as it is: positions come in elsewhere (rotary) or not at all."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Hand x back."""
        return x


def position_angles(
    start: int,
    length: int,
    d: int,
    base: float,
    device: torch.device | None = None,
    scaling: RopeScaling = PLAIN,
) -> Tensor:
    """The angle t / base^(2i/d) in radians for each place t and each pair of features i.

    Args:
        start: the first place.
        length: number of places.
        d: number of features.
        base: of the geometric row of speeds.
        device: where the angles are computed.
        scaling: how the speeds are lowered.

    Returns:
        [length, d/2] in fp32, for t = start … start + length − 1.

    Example:
        >>> position_angles(0, 2, 4, 10000.0)
        tensor([[0.0000, 0.0000],
                [1.0000, 0.0100]])
    """
    places = torch.arange(start, start + length, device=device, dtype=torch.float32)
    speeds = 1.0 / base ** (torch.arange(0, d, 2, device=device, dtype=torch.float32) / d)
    return places[:, None] * scaled_speeds(speeds, base, scaling)


def scaled_speeds(speeds: Tensor, base: float, scaling: RopeScaling) -> Tensor:
    """The speeds, in radians a place, with the scaling applied.

    Args:
        speeds: 1 / base^(2i/d), [d/2].
        base: of the geometric row of speeds.
        scaling: how they are lowered.

    Example:
        >>> scaled_speeds(torch.tensor([1.0, 0.5]), 4.0, RopeScaling("linear", factor=2.0))
        tensor([0.5000, 0.2500])
    """
    if scaling.kind == "none":
        return speeds
    if scaling.kind == "linear":
        return speeds / scaling.factor
    if scaling.kind == "yarn":
        share = _yarn_share(speeds, base, scaling)
        return speeds * (share + (1 - share) / scaling.factor)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_context_length * speeds / (2 * math.pi)  # in the first window
    share = ((turns - low) / (high - low)).clamp(0, 1)  # 0 is slow, 1 is quick
    return speeds * (share + (1 - share) / scaling.factor)


def _yarn_share(speeds: Tensor, base: float, scaling: RopeScaling) -> Tensor:
    """How far YaRN leaves each pair alone, [d/2]: 1 is quick, 0 is slow, in equal steps between."""
    d = 2 * len(speeds)

    def pair(turns: float) -> float:  # the one that turns so often in the first window
        places = scaling.original_context_length / (2 * math.pi * turns)  # for one radian
        return d * math.log(places) / (2 * math.log(base))

    quick = math.floor(max(pair(scaling.high_freq_factor), 0))
    slow = math.ceil(min(pair(scaling.low_freq_factor), d - 1))
    pairs = torch.arange(d // 2, device=speeds.device, dtype=torch.float32)
    # 0.001 as in the reference code: one pair that is both quick and slow
    return 1 - ((pairs - quick) / ((slow - quick) or 0.001)).clamp(0, 1)


def divisors(d: int, base: float, scaling: RopeScaling) -> Tensor:
    """What each pair's speed is divided by, [d/2]: the form in which GGUF keeps a scaling.

    Example:
        >>> divisors(4, 10000.0, RopeScaling("linear", factor=2.0))
        tensor([2., 2.])
    """
    speeds = 1.0 / base ** (torch.arange(0, d, 2, dtype=torch.float32) / d)
    return speeds / scaled_speeds(speeds, base, scaling)


class Rotation:
    """Rotary positions: turn each pair of features of q and k by an angle that grows with place.

    (a, b) → (a·cos θ − b·sin θ, b·cos θ + a·sin θ) with θ = t / base^(2i/d), where a = x[i] and
    b = x[i + d/2]. A product of a rotated q and a rotated k depends on how far apart they are only.

    Args:
        angles: θ for each place and pair, [T, d/2].
        factor: what the outcome is multiplied by.

    Shape:
        [B, H, T, d] → [B, H, T, d]; d is even.

    Example:
        >>> rotation = Rotation(position_angles(0, 3, 8, 10000.0))
        >>> rotation(torch.ones(1, 2, 3, 8)).shape
        torch.Size([1, 2, 3, 8])

    Source:
        Su et al., "RoFormer", 2021; the order of the features is Llama's.
    """

    def __init__(self, angles: Tensor, factor: float = 1.0) -> None:
        cos, sin = angles.cos(), angles.sin()
        if factor != 1:
            cos, sin = cos * factor, sin * factor
        self.cos = torch.cat((cos, cos), dim=-1)  # [T, d]
        self.sin = torch.cat((-sin, sin), dim=-1)  # [T, d]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate x, whose T places are the ones of the angles."""
        swapped = x.roll(x.shape[-1] // 2, dims=-1)  # (a, b) → (b, a)
        return torch.addcmul(x * self.cos.to(x.dtype), swapped, self.sin.to(x.dtype))

    def __getitem__(self, places: slice) -> "Rotation":
        """The rotation of some of the places."""
        part = object.__new__(Rotation)
        part.cos, part.sin = self.cos[places], self.sin[places]
        return part
