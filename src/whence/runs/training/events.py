"""What a training run reports to its caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from whence.train.evaluation import Evaluation


@dataclass(frozen=True)
class Stepped:
    """One step is done.

    Attributes:
        step: its number, from 0.
        loss: nats per token on its batch, before its update.
        rate: the learning rate.
        grad_norm: of the gradient before clipping.
        seconds: how long the step took.
        tokens: how many tokens it read.
    """

    step: int
    loss: float
    rate: float
    grad_norm: float
    seconds: float
    tokens: int

    def to_record(self) -> dict[str, float | int | str]:
        """Return the line of the record: the loss also in hexadecimal, which has every bit."""
        return {
            "step": self.step,
            "loss": self.loss,
            "loss_hex": self.loss.hex(),
            "rate": self.rate,
            "grad_norm": self.grad_norm,
            "seconds": round(self.seconds, 6),
            "tokens": self.tokens,
        }


@dataclass(frozen=True)
class Evaluated:
    """The model was measured on the validation text, in the state before step `step`.

    Attributes:
        step: the number of the next step.
        evaluation: what was measured.
        best: no measurement of the same tokens before was as low.
        whole: on all of the validation text, where the usual ones take windows spread over it.
        own: what the caller's own evaluations gave, by name.
    """

    step: int
    evaluation: Evaluation
    best: bool
    whole: bool = False
    own: Mapping[str, float] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the line of the record."""
        e = self.evaluation
        exact = {} if e.exact_match is None else {"exact_match": e.exact_match}
        return {
            "step": self.step,
            "loss": e.loss,
            "loss_hex": e.loss.hex(),
            "bits_per_byte": e.bits_per_byte,
            "tokens": e.n_tokens,
            "whole": self.whole,
            **exact,
            **({"own": dict(self.own)} if self.own else {}),
        }


@dataclass(frozen=True)
class Sampled:
    """The model wrote something, in the state before step `step`."""

    step: int
    text: str

    def to_record(self) -> dict[str, float | int | str]:
        """Return the line of the record."""
        return {"step": self.step, "text": self.text}


@dataclass(frozen=True)
class Saved:
    """A checkpoint of the state before step `step` is on disk."""

    step: int


@dataclass(frozen=True)
class Differed:
    """A step done again gave another loss than the record holds: the run is approximate there."""

    step: int
    recorded: float
    loss: float


@dataclass(frozen=True)
class Noted:
    """Something was done differently from what was requested, in a sentence."""

    text: str


@dataclass(frozen=True)
class Ended:
    """Training ended in the state before step `step`, and why."""

    step: int
    why: Literal["finished", "no longer improving", "stopped"]


Event = Stepped | Evaluated | Sampled | Saved | Differed | Noted | Ended
