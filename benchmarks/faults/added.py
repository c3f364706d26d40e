"""Faults that were added for the third measurement: written before any rule was asked about them.

The checksum of a name sets half of them aside, as it does with the others.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.faults.fault import RATE_HIGH, RATE_LOW, Fault, each

ALL = "gpt lstm mlp encoder hf"
JUMPS = ("spike", "diverging", "update-too-large", "exploding-gradients", "not-finite")
NOT_LEARNT = ("targets-unrelated", "no-better-than-counts", "not-learning")

LOOP = [
    # with a first bad step
    *each(
        "gradients no longer zeroed",
        ALL,
        "gradients-not-cleared",
        {"zero_grad": "until"},
        bad_step=0.3,
    ),
    *each(
        "evaluation mode stays on",
        "gpt lstm encoder hf",
        "idle-dropout",
        {"mode": "eval from"},
        {"dropout": 0.2},
        bad_step=0.6,
    ),
    *each(
        "frozen late, moved by momentum",
        "gpt lstm mlp hf",
        ("frozen-but-moved", "frozen"),
        bad_step=0.6,
        gpt={"freeze": "blocks.0"},
        lstm={"freeze": "rnn"},
        mlp={"freeze": "0."},
        hf={"freeze": "h.0."},
    ),
    *each(
        "schedule ends too early at 0",
        "gpt lstm mlp hf",
        "rate-is-zero",
        {"schedule": "ends"},
        bad_step=0.6,
    ),
    *each(
        "restart without the checkpoint",
        "gpt lstm mlp hf",
        ("spike", "diverging"),
        {"anew": True},
        {"steps": 120},
        bad_step=0.6,
    ),
    *each(
        "head times a hundred", ALL, (*JUMPS, "logit-drift"), {"head times": 100.0}, bad_step=0.6
    ),
    *each(
        "units die at a step", "gpt mlp encoder", "dead-units", {"units die": True}, bad_step=0.3
    ),
    # without
    *each(
        "gradients zeroed at every fourth step",
        "gpt lstm mlp encoder hf",
        "gradients-not-cleared",
        {"zero_grad": "every fourth"},
    ),
    *each(
        "gradients zeroed before the update",
        "encoder",
        "gradients-cleared-early",
        {"zero_grad": "early"},
    ),
    *each(
        "head replaced after the optimizer was made", ALL, "not-optimized", {"head replaced": True}
    ),
    *each(
        "a part in evaluation mode trains",
        "gpt lstm encoder hf",
        "trains-though-frozen",
        gpt={"in evaluation": "blocks.0"},
        lstm={"in evaluation": "rnn"},
        encoder={"in evaluation": "encoder.blocks.0"},
        hf={"in evaluation": "transformer.h.0"},
    ),
    *each("warm-up fifty times the run", ALL, "warmup-too-long", {"schedule": "long warm-up"}),
    *each("rate thirty times too high", "gpt lstm encoder hf", RATE_HIGH, {"rate": 30.0}),
    *each(
        "gradients clipped to a billionth",
        "gpt lstm mlp hf",
        (*RATE_LOW, "vanishing-gradients"),
        {"clip": 1e-9},
        {"optimizer": "sgd"},
    ),
    *each(
        "parts added up, not averaged",
        "mlp encoder",
        "accumulation-not-averaged",
        {"accumulate": "sum"},
    ),
    *each("decay of norms and biases too", "gpt lstm encoder hf", "decay-on-all", {"decay": 0.1}),
    *each("stopped after 25 steps", "gpt lstm hf", "stopped-early", {}, {"steps": 25}),
    *each(
        "z-loss with the wrong sign", "gpt lstm", "logit-drift", {"z-loss": -0.01}, {"steps": 160}
    ),
]

DATA = [
    # with a first bad step
    *each(
        "targets slip to other examples",
        ALL,
        (*NOT_LEARNT, "spike", "diverging"),
        {"targets": "slip"},
        {"steps": 120},
        bad_step=0.6,
    ),
    *each(
        "one batch with the targets of another alphabet",
        "gpt lstm mlp hf",
        ("spike", "poisoned-rows"),
        {"wrong batch": True},
        {"steps": 120},
        bad_step=0.6,
    ),
    *each(
        "one batch without any target",
        ALL,
        ("no-target", "not-finite"),
        {"empty batch": True},
        bad_step=0.3,
    ),
    *each(
        "loader stuck on one batch",
        "gpt lstm mlp hf",
        ("same-batch", "repeated-examples"),
        {"batches": "stuck"},
        bad_step=0.3,
    ),
    *each(
        "one example a thousand times too large",
        "mlp",
        (*JUMPS, "poisoned-rows"),
        {"huge row": True},
        bad_step=0.6,
    ),
    # without
    *each("every step the same batch", "mlp encoder", "same-batch", {"batches": "same"}),
    *each("each example twice in its batch", ALL, "repeated-examples", {"batches": "each twice"}),
    *each("target is the token before", "gpt lstm", "targets-shifted", {"shift": -1}),
    *each("target is three ahead", "gpt lstm", "targets-shifted", {"shift": 3}),
    *each("labels not shifted", "hf", "targets-shifted", {"by hand": True}),
    *each(
        "targets of the batch before",
        "gpt lstm mlp encoder hf",
        NOT_LEARNT,
        {"targets": "batch before"},
        {"steps": 120},
    ),
    *each("padding on the left, without a mask", "hf", "padding-read", {"left padding": True}),
    *each("window eight times the texts'", "encoder", "short-examples", {"long window": 8}),
    *each("vocabulary ten times the texts'", "encoder", "unused-vocabulary", {"vocabulary": 10}),
]

MODEL = [
    *each("masked with 0, not −∞", "gpt", "sees-the-future", {"model": "masked with 0"}),
    *each(
        "masked after the softmax",
        "gpt",
        ("sees-the-future", "wrong-axis"),
        {"model": "masked after the softmax"},
    ),
    *each(
        "mask upside down",
        "gpt",
        ("sees-the-future", "context-unread"),
        {"model": "mask upside down"},
    ),
    *each("heads split without a transpose", "gpt", "sees-the-future", {"model": "no transpose"}),
    *each("norm over the tokens", "gpt hf", "sees-the-future", {"model": "norm over tokens"}),
    *each(
        "norm over the examples",
        "gpt encoder hf",
        "examples-mixed",
        {"model": "norm over examples"},
    ),
    *each("reads from both ends", "lstm", "sees-the-future", {"model": "both ways"}),
    *each(
        "batch read as time",
        "lstm",
        ("examples-mixed", "context-unread"),
        {"model": "batch as time"},
    ),
    *each(
        "padding masked by a little",
        "encoder",
        "padding-read",
        {"model": "padding masked by a little"},
    ),
    *each(
        "every token at position 0", "gpt encoder hf", "no-positions", {"model": "positions at 0"}
    ),
    *each(
        "queries cut off from the gradient",
        "gpt encoder",
        "no-gradient",
        {"model": "query detached"},
    ),
    *each(
        "embedding cut off from the gradient",
        "gpt lstm encoder",
        "no-gradient",
        {"model": "embedding detached"},
    ),
    *each(
        "hidden layer cut off from the gradient",
        "mlp encoder",
        "no-gradient",
        {"model": "hidden detached"},
    ),
    *each(
        "norms left out",
        "gpt encoder",
        ("stream-grows", "poor-start"),
        {"model": "no norms"},
        {"layers": 4},
    ),
    *each(
        "no residual in GPT-2",
        "hf",
        "missing-residual",
        {"model": "no residual in GPT-2"},
        {"layers": 3},
    ),
    *each(
        "cache counts positions from 0", "hf", "cache-differs", {"model": "cache of GPT-2 shifted"}
    ),
    *each("tied head drawn anew", "hf", "loss-at-start", {"model": "drawn anew"}),
    *each("head drawn far too large", "encoder", "loss-at-start", {"model": "head × 30"}),
    *each(
        "queries and keys drawn far too large",
        "gpt encoder hf",
        "attention-collapse",
        {"model": "large queries"},
    ),
    *each(
        "biases of tanh far out", "mlp", "saturated-units", {"model": "saturated"}, {"form": "tanh"}
    ),
    *each(
        "eight layers drawn ten times too small",
        "mlp",
        ("vanishing-gradients", "poor-start"),
        {"model": "small start"},
        {"layers": 8},
    ),
    *each("all of an LSTM's units alike", "lstm", "symmetric-units", {"model": "rnn alike"}),
    *each(
        "every second row never updated", "encoder", "rows-never-updated", {"model": "rows held"}
    ),
    *each(
        "dropout active in evaluation",
        "mlp",
        "random-in-evaluation",
        {"model": "always dropout"},
        {"dropout": 0.2, "layers": 3},
    ),
]

ADDED: list[Fault] = [replace(fault, added=2) for fault in (*LOOP, *DATA, *MODEL)]
