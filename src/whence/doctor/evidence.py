"""Everything that a rule may look at: what a run recorded, and what was measured by replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whence.doctor.measuring.landscape import Landscape
from whence.doctor.measuring.measured import Measured


@dataclass(slots=True)
class Probes:
    """What the model answers when a token is changed: each None where it could not be asked.

    Attributes:
        ahead: largest change of an earlier position's logits when the last token is changed,
            relative to the logits' spread.
        before: the same of a later position's when an early token is changed.
        across: of one example's logits when another example is changed.
        hidden: of visible positions' logits when padded tokens are changed.
        noise: of two readings in evaluation mode.
        place: whether queries or keys differ by position where all tokens are the same.
        cache: of the logits read token by token with a cache, from those read at once.
        padded: share of the batch's tokens that look like padding, or are marked so.
        marked: whether the model was told which tokens are padding.
        pad_counted: share of padding positions whose target is counted.

    Example:
        >>> Probes(ahead=0.2, before=0.3).ahead > 1e-3  # it reads the tokens that it predicts
        True
    """

    ahead: float | None = None
    before: float | None = None
    across: float | None = None
    hidden: float | None = None
    noise: float | None = None
    place: bool | None = None
    cache: float | None = None
    padded: float = 0.0
    marked: bool = False
    pad_counted: float | None = None


@dataclass(slots=True)
class Texts:
    """What the data themselves show.

    Attributes:
        rows: how many examples were looked at.
        repeated: share of them that came before, exactly.
        copied: of the examples whose first half came before, the share that go on as it did then:
            near 1 where examples are copies, less where short ones are equal by chance.
        same_batch: share of steps that read the very batch of the step before.
        stuck_from: the step from which on every step read the batch of the step before, to the last
            one; None: the last steps read different batches.
        in_order: share of examples that begin where the one before them ended.
        sorted_labels: how much likelier than chance two neighbours share a label; NaN: unknown.
        overlap: share of validation windows that also occur in the training text; NaN: unknown.
        overlap_example: where one of them is.
        vocabulary: share of the vocabulary that the text uses; NaN: unknown.
        window: mean share of the model's window that an example fills; NaN: unknown.
        shift: how far the target lies ahead of its input token: 1 is the next; None: no fixed shift
            fits.
        shift_share: share of targets that this shift explains.
        target_entropy: of all targets' distribution, in nats; NaN: unknown.
        tokens: how many targets that is.
        epochs: how often the text was read; NaN: unknown.
        own_copies: share of training windows that occur there a second time; NaN: unknown.
        far_inputs: step → the example of it whose inputs, where they are numbers, are far larger
            than those of the others, and how many times the median example's they are.

    Example:
        >>> Texts(rows=64, repeated=0.25, shift=1).repeated
        0.25
    """

    rows: int = 0
    repeated: float = 0.0
    copied: float = 1.0
    same_batch: float = 0.0
    stuck_from: int | None = None
    in_order: float = float("nan")
    sorted_labels: float = float("nan")
    overlap: float = float("nan")
    overlap_example: str = ""
    vocabulary: float = float("nan")
    window: float = float("nan")
    shift: int | None = None
    shift_share: float = float("nan")
    target_entropy: float = float("nan")
    tokens: int = 0
    epochs: float = float("nan")
    own_copies: float = float("nan")
    far_inputs: dict[int, tuple[int, float]] = field(default_factory=dict)


@dataclass(slots=True)
class Setup:
    """What is known of how the run is trained.

    Attributes:
        kind: tokens (each has a target), classes (each example has one) or other.
        optimizer: its name.
        rate: the peak learning rate.
        steps: how many are meant; 0: unknown.
        clip: the norm that gradients are scaled down to; 0: none; None: unknown.
        window: tokens the model reads at most; 0: unknown.
        vocab_size: tokens there are; 0: unknown.
        scheduled: whether a schedule is attached to the rate; None: unknown.
        adaptive: whether the update's size hardly depends on the gradient's (Adam, Muon).
        warmup: steps over which the rate rises; 0: none, or unknown.
        tied_asked: whether embedding and head were meant to share their weights.
        tied: whether they do.
        has_attention: whether the model has an attention layer.
        frozen_asked: patterns of the parameters that were meant to stay as they are.
        sizes: further settings by name.
        is_run: whether it is a run of Whence, rather than a watched loop.

    Example:
        >>> Setup("tokens", "AdamW", rate=1e-3, steps=1000, warmup=100).warmup
        100
    """

    kind: str = "other"
    optimizer: str = ""
    rate: float = float("nan")
    steps: int = 0
    clip: float | None = None
    window: int = 0
    vocab_size: int = 0
    scheduled: bool | None = None
    adaptive: bool = False
    warmup: int = 0
    tied_asked: bool = False
    tied: bool = False
    has_attention: bool = False
    frozen_asked: tuple[str, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    is_run: bool = False


@dataclass(slots=True)
class Evidence:
    """What rules look at.

    Attributes:
        of: what it is about.
        setup: how it is trained.
        loss: of each step, float64 [N].
        rate: of each step.
        grad_norm: of each step.
        evals: (step, loss on validation text) of each measurement.
        measured: what was measured by replay, in the order of steps.
        probes: what the model answered; None: it couldn't be asked.
        texts: what the data show; None: they aren't there.
        landscape: the loss around the weights; None: nothing asked for it, or no time was left.
        crashed: the step that a number which isn't finite ended; None: none.
        first_bad: the first number that wasn't finite, as a sentence, its address, and its step.
        lacks: kind of evidence → why it isn't there.
        looked: what was looked at, in sentences.

    Example:
        >>> evidence = Evidence("runs/mine", loss=np.array([3.0, 2.5, 2.0]))
        >>> evidence.has("record"), evidence.has("20 steps")
        (True, False)
        >>> evidence.why_not("20 steps")
        'fewer than 20 steps are recorded'
    """

    of: str
    setup: Setup = field(default_factory=Setup)
    loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    rate: np.ndarray = field(default_factory=lambda: np.zeros(0))
    grad_norm: np.ndarray = field(default_factory=lambda: np.zeros(0))
    evals: list[tuple[int, float]] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    probes: Probes | None = None
    texts: Texts | None = None
    landscape: Landscape | None = None
    crashed: int | None = None
    first_bad: tuple[str, str] | None = None
    lacks: dict[str, str] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)

    @property
    def first(self) -> Measured:
        """The earliest step that was measured."""
        return self.measured[0]

    @property
    def last(self) -> Measured:
        """The latest step that was measured and came to its end."""
        done = [m for m in self.measured if not m.refused]
        return done[-1] if done else self.measured[-1]

    def learns(self, share: float = 0.9) -> bool:
        """Whether the loss came down to a share of its start, and is still there at the end."""
        smooth = self.smoothed()
        if self.crashed is not None or len(smooth) < 20:
            return False
        return bool(smooth[-1] < share * smooth[0])

    def has(self, need: str) -> bool:
        """Whether there is evidence of a kind: one of `NEEDS`."""
        return NEEDS[need][0](self)

    def why_not(self, need: str) -> str:
        """Say why there is none."""
        return self.lacks.get(need, NEEDS[need][1])

    def smoothed(self, window: int = 0) -> np.ndarray:
        """The loss, each step the mean of the last few; NaNs stay."""
        n = len(self.loss)
        k = max(1, min(window or max(1, n // 20), n))
        if n == 0:
            return self.loss
        sums = np.cumsum(np.insert(self.loss, 0, 0.0))
        head = np.cumsum(self.loss)[: k - 1] / np.arange(1, k)
        return np.concatenate([head, (sums[k:] - sums[:-k]) / k])


def _measured(e: Evidence) -> bool:
    return any(not m.refused and m.weights for m in e.measured)


# kind of evidence → (whether it is there, what is said where it isn't)
NEEDS: dict[str, tuple[Callable[[Evidence], bool], str]] = {
    "record": (lambda e: len(e.loss) >= 1, "no step is recorded"),
    "20 steps": (lambda e: len(e.loss) >= 20, "fewer than 20 steps are recorded"),
    "losses": (
        lambda e: bool(len(e.loss) >= 20 and np.isfinite(e.loss[: max(1, len(e.loss) // 2)]).any()),
        "the loss is not in the record",
    ),
    "rates": (lambda e: len(e.rate) >= 5, "fewer than 5 steps are recorded"),
    "gradient norms": (
        lambda e: bool(len(e.grad_norm) >= 20 and np.isfinite(e.grad_norm).any()),
        "gradient norms of 20 steps are not there",
    ),
    "validation": (lambda e: len(e.evals) >= 3, "fewer than 3 measurements on other text"),
    "measured": (_measured, "no step could be done again"),
    "start": (
        lambda e: _measured(e) and e.first.step < 10,
        "none of the first 10 steps could be done again",
    ),
    "two steps": (
        lambda e: sum(not m.refused for m in e.measured) >= 2,
        "fewer than two steps could be done again",
    ),
    "targets": (
        lambda e: any(m.predicted is not None and m.predicted.known for m in e.measured),
        "the targets can't be told from the gradient at the logits",
    ),
    "logits": (
        lambda e: any(m.predicted is not None for m in e.measured),
        "no logits were seen",
    ),
    "attention": (lambda e: any(m.readings for m in e.measured), "no attention was seen"),
    "units": (lambda e: any(m.units for m in e.measured), "no activation function was seen"),
    "blocks": (lambda e: any(m.flows for m in e.measured), "no two blocks of one kind were seen"),
    "probes": (lambda e: e.probes is not None, "the model could not be asked with other tokens"),
    "texts": (lambda e: e.texts is not None, "the data are not there"),
    **{
        need: (
            lambda e, name=name: math.isfinite(getattr(e.landscape, name, math.nan)),
            "the record of a run doesn't ask for it, or there was no time",
        )
        for need, name in (("sharpness", "sharpness"), ("sweep", "steepest"))
    },
    "noise scale": (
        lambda e: e.landscape is not None and not math.isnan(e.landscape.noise),
        "the record of a run doesn't ask for it, or there was no time",
    ),
    "crash": (lambda e: True, ""),
}
