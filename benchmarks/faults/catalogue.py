"""The table of faults that loops can have: what is broken, in which models, and its right names."""

from __future__ import annotations

from benchmarks.faults.added import ADDED
from benchmarks.faults.fault import RATE_HIGH, RATE_LOW, Fault, each
from benchmarks.faults.models import FAMILIES, Setting

FIRST: list[Fault] = [
    # the loop
    *each("gradients never zeroed", "gpt lstm mlp encoder hf", "gradients-not-cleared",
           {"zero_grad": "never"}),
    *each("gradients zeroed too early", "gpt lstm mlp hf", "gradients-cleared-early",
           {"zero_grad": "early"}),
    *each("parameters left out of the optimizer", " ".join(FAMILIES), "not-optimized",
           gpt={"left out": "blocks.1"}, lstm={"left out": "head"}, mlp={"left out": "2."},
           encoder={"left out": "encoder.blocks.0"}, hf={"left out": "h.0."}),
    *each("frozen part", "gpt lstm mlp hf", "frozen",
           gpt={"frozen": "blocks.0"}, lstm={"frozen": "rnn"}, mlp={"frozen": "0."},
               hf={"frozen": "h.1."}),
    *each("rate far too high", " ".join(FAMILIES), RATE_HIGH, {"rate": 1000.0}),
    *each("rate far too low", "gpt lstm mlp hf encoder", RATE_LOW, {"rate": 1e-4}),
    *each("rate jumps in the middle", "gpt lstm hf", (*RATE_HIGH, "spike"), {"rate at": 1000.0},
           bad_step=0.5),
    *each("schedule starts at 0 for ever", "gpt mlp lstm", "rate-is-zero", {"schedule": "zero"}),
    *each("schedule that is never stepped", "gpt hf mlp", "schedule-never-moves",
           {"schedule": "unused"}),
    *each("weights in bf16, small updates", "gpt mlp hf", "update-underflow", {"dtype": "bf16",
           "rate": 0.01}),
    *each("weight decay far too strong", "gpt mlp encoder hf", "decay-too-strong",
           {"decay": 30.0}),
    *each("training in evaluation mode", "gpt lstm encoder hf", "idle-dropout",
           {"mode": "eval"}, {"dropout": 0.2}),
    *each("loss summed, not averaged", "lstm mlp hf gpt", "summed-loss", {"reduction": "sum"},
           {"optimizer": "sgd", "rate": 1e-5}),
    *each("accumulated without averaging", "gpt lstm hf", "accumulation-not-averaged",
           {"accumulate": "sum"}),
    *each("parts of unequal length weighed alike", "gpt lstm", "accumulation-not-averaged",
           {"accumulate": "uneven"}),
    *each("loss times 10,000 from the middle on", "gpt mlp lstm", ("loss-rescaled",
           "exploding-gradients", "spike", "not-finite"),
           {"jump": 1e4}, {"optimizer": "momentum", "rate": 1e-3}, bad_step=0.5),
    # the data
    *each("the same batch at every step", "gpt lstm hf", "same-batch", {"batches": "same"}),
    *each("sixteen examples again and again", "gpt lstm hf", "repeated-examples",
           {"batches": "few rows"}),
    *each("data sorted by label", "mlp encoder", "not-shuffled", {"order": "sorted"}),
    *each("text in order, not shuffled", "gpt lstm hf", "not-shuffled", {"order": "stream"}),
    *each("target is the token itself", "gpt lstm", "targets-shifted", {"shift": 0}),
    *each("target is two ahead", "gpt lstm", "targets-shifted", {"shift": 2}),
    *each("labels shifted twice", "hf", "targets-shifted", {"shifted twice": True}),
    *each("targets at random", "gpt lstm hf", "targets-unrelated", {"targets": "random"}),
    *each("targets of other examples", "gpt lstm", "targets-unrelated", {"targets": "other rows"}),
    *each("labels at random", "mlp encoder", ("no-better-than-counts", "not-learning"),
           {"targets": "random"}, {"steps": 120}),
    *each("half of the examples have no target", "gpt lstm hf", "no-target", {"empty rows": 0.5}),
    *each("one example in eight is noise", "gpt lstm hf", "poisoned-rows", {"bad row": True},
           {"steps": 120}),
    *each("one batch of noise", "gpt lstm hf", "spike", {"bad batch": True}, {"steps": 120},
           bad_step=0.5),
    *each("a NaN in one batch", "mlp", "not-finite", {"bad batch": True}, bad_step=0.5),
    *each("logarithm of 0", "gpt lstm mlp", "not-finite", {"infinite at": True}, bad_step=0.5),
    *each("padding counted as a target", "gpt lstm hf", "padding-counted", {"padding": "counted"}),
    *each("vocabulary ten times the data's", "lstm gpt hf", "unused-vocabulary",
           {"vocabulary": 10}),
    *each("window eight times the examples'", "gpt hf", "short-examples", {"long window": 8}),
    *each("inputs times 300", "mlp", ("saturated-units", "loss-at-start", "poor-start"),
           {"inputs": 300.0}, {"form": "tanh"}),
    # the model
    *each("no causal mask", "gpt hf", "sees-the-future", {"model": "no mask"}),
    *each("mask lets one token ahead through", "gpt", "sees-the-future",
           {"model": "sees one ahead"}),
    *each("each token sees itself alone", "gpt", "context-unread", {"model": "sees itself alone"}),
    *each("scores without 1/√d", "gpt encoder hf", "missing-scale", {"model": "no scale"}),
    *each("softmax over the queries", "gpt encoder", "wrong-axis", {"model": "wrong axis"}),
    *each("softmax over the batch", "gpt encoder", ("wrong-axis", "examples-mixed"),
           {"model": "over the batch"}),
    *each("positions don't arrive", "gpt encoder hf", "no-positions", {"model": "no positions"}),
    *each("no residual", "gpt encoder", "missing-residual", {"model": "no residual"},
           {"layers": 3}),
    *each("keys made by the query's matrix", "gpt encoder", "no-gradient",
           {"model": "key is the query"}),
    *each("values made by the key's matrix", "gpt encoder", "no-gradient",
           {"model": "value is the key"}),
    *each("padding attended to", "encoder", "padding-read", {"model": "padding read"}),
    *each("mask of padding forgotten", "encoder", "padding-read", {"mask forgotten": True}),
    *each("head not tied", "hf", "not-tied", {"model": "untied"}),
    *each("head drawn thirty times too large", "gpt lstm mlp hf", "loss-at-start",
           {"model": "head × 30"}),
    *each("all units alike", "mlp gpt encoder", "symmetric-units", {"model": "all alike"}),
    *each("gain stuck at 0", "gpt encoder hf", "gain-stuck", {"model": "gain of 0"}),
    *each("dead units", "mlp encoder gpt", "dead-units", {"model": "dead"}),
    *each("weights drawn thirty times too large", "mlp", ("poor-start", "loss-at-start",
           "saturated-units"), {"model": "wide start"}, {"layers": 4}),
    *each("eight layers of sigmoids", "mlp", "vanishing-gradients", {}, {"form": "sigmoid",
           "layers": 8}),
    *each("weights drawn a hundred times too small", "mlp", ("vanishing-gradients",
           "poor-start"), {"model": "tiny start"}, {"layers": 4}),
    *each("positions shifted in the cache", "gpt", "cache-differs", {"model": "cache shifted"}),
    *each("a part is detached", "gpt hf", "no-gradient", {"model": "detached"}),
    *each("half of the embedding never updated", "gpt lstm hf", "rows-never-updated",
           {"model": "rows held"}),
    *each("dropout stays on in evaluation", "gpt lstm encoder hf", "random-in-evaluation",
           {"model": "always dropout"}),
]  # fmt: skip

FAULTS: list[Fault] = [*FIRST, *ADDED]


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
