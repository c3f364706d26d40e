"""The table of faults that loops can have: what is broken, in which models, and its right names."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.models import FAMILIES, Setting

RATE_HIGH = ("update-too-large", "diverging", "bouncing", "exploding-gradients", "not-finite")
RATE_LOW = ("update-too-small", "not-learning")


@dataclass(frozen=True)
class Fault:
    """A fault in one kind of model.

    Attributes:
        name: what is broken.
        family: the kind of model.
        right: names of the rules that name this cause.
        switches: what the loop and the model are told.
        changes: fields of the setting that differ.
        bad_step: the first bad step, as a share of all; None: there is none.
    """

    name: str
    family: str
    right: tuple[str, ...]
    switches: dict[str, Any]
    changes: dict[str, Any] = field(default_factory=dict)
    bad_step: float | None = None

    @property
    def key(self) -> str:
        """Its name with its kind of model."""
        return f"{self.family}: {self.name}"

    @property
    def held_out(self) -> bool:
        """Whether it was set aside: half of the faults, by a checksum of their names."""
        return zlib.crc32(self.key.encode()) % 2 == 1

    def setting(self, seed: int) -> Setting:
        """The training that it is put into."""
        return Setting(self.family, seed, **self.changes)


def _each(
    name: str, families: str, right: str | tuple[str, ...], switches: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None, bad_step: float | None = None, **by_family: Any,
) -> list[Fault]:  # fmt: skip
    right = (right,) if isinstance(right, str) else right
    return [
        Fault(
            name, family, right, {**(switches or {}), **by_family.get(family, {})}, changes or {},
            bad_step,
        )
        for family in families.split()
    ]  # fmt: skip


FAULTS: list[Fault] = [
    # the loop
    *_each("gradients never zeroed", "gpt lstm mlp encoder hf", "gradients-not-cleared",
           {"zero_grad": "never"}),
    *_each("gradients zeroed too early", "gpt lstm mlp hf", "gradients-cleared-early",
           {"zero_grad": "early"}),
    *_each("parameters left out of the optimizer", " ".join(FAMILIES), "not-optimized",
           gpt={"left out": "blocks.1"}, lstm={"left out": "head"}, mlp={"left out": "2."},
           encoder={"left out": "encoder.blocks.0"}, hf={"left out": "h.0."}),
    *_each("frozen part", "gpt lstm mlp hf", "frozen",
           gpt={"frozen": "blocks.0"}, lstm={"frozen": "rnn"}, mlp={"frozen": "0."},
               hf={"frozen": "h.1."}),
    *_each("rate far too high", " ".join(FAMILIES), RATE_HIGH, {"rate": 1000.0}),
    *_each("rate far too low", "gpt lstm mlp hf encoder", RATE_LOW, {"rate": 1e-4}),
    *_each("rate jumps in the middle", "gpt lstm hf", (*RATE_HIGH, "spike"), {"rate at": 1000.0},
           bad_step=0.5),
    *_each("schedule starts at 0 for ever", "gpt mlp lstm", "rate-is-zero", {"schedule": "zero"}),
    *_each("schedule that is never stepped", "gpt hf mlp", "schedule-never-moves",
           {"schedule": "unused"}),
    *_each("weights in bf16, small updates", "gpt mlp hf", "update-underflow", {"dtype": "bf16",
           "rate": 0.01}),
    *_each("weight decay far too strong", "gpt mlp encoder hf", "decay-too-strong",
           {"decay": 30.0}),
    *_each("training in evaluation mode", "gpt lstm encoder hf", "idle-dropout",
           {"mode": "eval"}, {"dropout": 0.2}),
    *_each("loss summed, not averaged", "lstm mlp hf gpt", "summed-loss", {"reduction": "sum"},
           {"optimizer": "sgd", "rate": 1e-5}),
    *_each("accumulated without averaging", "gpt lstm hf", "accumulation-not-averaged",
           {"accumulate": "sum"}),
    *_each("parts of unequal length weighed alike", "gpt lstm", "accumulation-not-averaged",
           {"accumulate": "uneven"}),
    *_each("loss times 10,000 from the middle on", "gpt mlp lstm", ("exploding-gradients",
           "spike", "not-finite"),
           {"jump": 1e4}, {"optimizer": "momentum", "rate": 1e-3}, bad_step=0.5),
    # the data
    *_each("the same batch at every step", "gpt lstm hf", "same-batch", {"batches": "same"}),
    *_each("sixteen examples again and again", "gpt lstm hf", "repeated-examples",
           {"batches": "few rows"}),
    *_each("data sorted by label", "mlp encoder", "not-shuffled", {"order": "sorted"}),
    *_each("text in order, not shuffled", "gpt lstm hf", "not-shuffled", {"order": "stream"}),
    *_each("target is the token itself", "gpt lstm", "targets-shifted", {"shift": 0}),
    *_each("target is two ahead", "gpt lstm", "targets-shifted", {"shift": 2}),
    *_each("labels shifted twice", "hf", "targets-shifted", {"shifted twice": True}),
    *_each("targets at random", "gpt lstm hf", "targets-unrelated", {"targets": "random"}),
    *_each("targets of other examples", "gpt lstm", "targets-unrelated", {"targets": "other rows"}),
    *_each("labels at random", "mlp encoder", ("no-better-than-counts", "not-learning"),
           {"targets": "random"}, {"steps": 120}),
    *_each("half of the examples have no target", "gpt lstm hf", "no-target", {"empty rows": 0.5}),
    *_each("one example in eight is noise", "gpt lstm hf", "poisoned-rows", {"bad row": True},
           {"steps": 120}),
    *_each("one batch of noise", "gpt lstm hf", "spike", {"bad batch": True}, {"steps": 120},
           bad_step=0.5),
    *_each("a NaN in one batch", "mlp", "not-finite", {"bad batch": True}, bad_step=0.5),
    *_each("logarithm of 0", "gpt lstm mlp", "not-finite", {"infinite at": True}, bad_step=0.5),
    *_each("padding counted as a target", "gpt lstm hf", "padding-counted", {"padding": "counted"}),
    *_each("vocabulary ten times the data's", "lstm gpt hf", "unused-vocabulary",
           {"vocabulary": 10}),
    *_each("window eight times the examples'", "gpt hf", "short-examples", {"long window": 8}),
    *_each("inputs times 300", "mlp", ("saturated-units", "loss-at-start", "poor-start"),
           {"inputs": 300.0}, {"form": "tanh"}),
    # the model
    *_each("no causal mask", "gpt hf", "sees-the-future", {"model": "no mask"}),
    *_each("mask lets one token ahead through", "gpt", "sees-the-future",
           {"model": "sees one ahead"}),
    *_each("each token sees itself alone", "gpt", "context-unread", {"model": "sees itself alone"}),
    *_each("scores without 1/√d", "gpt encoder hf", "missing-scale", {"model": "no scale"}),
    *_each("softmax over the queries", "gpt encoder", "wrong-axis", {"model": "wrong axis"}),
    *_each("softmax over the batch", "gpt encoder", ("wrong-axis", "examples-mixed"),
           {"model": "over the batch"}),
    *_each("positions don't arrive", "gpt encoder hf", "no-positions", {"model": "no positions"}),
    *_each("no residual", "gpt encoder", "missing-residual", {"model": "no residual"},
           {"layers": 3}),
    *_each("keys made by the query's matrix", "gpt encoder", "no-gradient",
           {"model": "key is the query"}),
    *_each("values made by the key's matrix", "gpt encoder", "no-gradient",
           {"model": "value is the key"}),
    *_each("padding attended to", "encoder", "padding-read", {"model": "padding read"}),
    *_each("mask of padding forgotten", "encoder", "padding-read", {"mask forgotten": True}),
    *_each("head not tied", "hf", "not-tied", {"model": "untied"}),
    *_each("head drawn thirty times too large", "gpt lstm mlp hf", "loss-at-start",
           {"model": "head × 30"}),
    *_each("all units alike", "mlp gpt encoder", "symmetric-units", {"model": "all alike"}),
    *_each("gain stuck at 0", "gpt encoder hf", "gain-stuck", {"model": "gain of 0"}),
    *_each("dead units", "mlp encoder gpt", "dead-units", {"model": "dead"}),
    *_each("weights drawn thirty times too large", "mlp", ("poor-start", "loss-at-start",
           "saturated-units"), {"model": "wide start"}, {"layers": 4}),
    *_each("eight layers of sigmoids", "mlp", "vanishing-gradients", {}, {"form": "sigmoid",
           "layers": 8}),
    *_each("weights drawn a hundred times too small", "mlp", ("vanishing-gradients",
           "poor-start"), {"model": "tiny start"}, {"layers": 4}),
    *_each("positions shifted in the cache", "gpt", "cache-differs", {"model": "cache shifted"}),
    *_each("a part is detached", "gpt hf", "no-gradient", {"model": "detached"}),
    *_each("half of the embedding never updated", "gpt lstm hf", "rows-never-updated",
           {"model": "rows held"}),
    *_each("dropout stays on in evaluation", "gpt lstm encoder hf", "random-in-evaluation",
           {"model": "always dropout"}),
]  # fmt: skip


def clean(seed: int) -> Setting:
    """A sound training: kind, size, rate, text, length and optimizer follow from the seed."""
    import random

    r = random.Random(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    form = {
        "gpt": r.choice(["learned", "rotary", "sinusoidal"]),
        "mlp": r.choice(["relu", "tanh"]),
    }.get(family, "")
    return Setting(
        family,
        seed,
        steps=r.choice([60, 80, 120, 160]),
        batch=r.choice([8, 12, 16]),
        window=r.choice([12, 16, 24]),
        width=r.choice([16, 32, 48]),
        layers=r.choice([1, 2, 3]),
        vocabulary=r.choice([12, 20, 32]),
        rate=r.choice([1e-3, 2e-3, 4e-3]),
        optimizer=r.choice(["adamw", "adamw", "adam", "momentum" if family == "mlp" else "adam"]),
        text=r.choice(["markov", "words", "copies"]),
        form=form,
        dropout=r.choice([0.0, 0.0, 0.1]),
    )
