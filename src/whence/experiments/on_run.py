"""Questions for small models, asked of a run of your own instead."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from whence.errors import WhenceError
from whence.experiments.common import AMOUNT, Interval, Report, apart, mean_interval
from whence.models.reads import reading
from whence.runs.run import Run
from whence.train.evaluation import spread, window_losses

WINDOWS = 200
LOOKS = 128  # tokens of a sequence that repeats itself, at most

# Where another verb asks a run the experiment's question.
ELSEWHERE = {
    "memory": 'whence context RUN, "what each doubling of the context buys"',
    "it": "whence attention RUN TEXT --token it",
    "senses": "whence embed RUN TEXT TEXT --word bank",
    "parts": "whence silence RUN",
    "texts": "whence prefer RUN PAIRS",
}


def order_of_run(run: Run, seed: int = 0) -> Report:
    """Shuffle the first three quarters of windows of the validation text, and see what it costs.

    The loss is that of the last quarter, whose own order stays.

    Args:
        run: of a model that predicts text.
        seed: of the shuffling.
    """
    rows = _windows(run)
    model: Any = run.writer()
    T = rows.shape[1] - 1
    cut = 3 * T // 4
    if cut < 2:
        raise WhenceError(
            f"a window of {T} tokens has no order to shuffle: train with a longer one."
        )
    generator = np.random.default_rng(seed)
    shuffled, others = rows.copy(), rows.copy()
    for row in shuffled:
        generator.shuffle(row[:cut])
    others[:, :cut] = np.roll(rows[:, :cut], 1, axis=0)
    losses = {
        name: window_losses(model, given)[:, cut:].mean(1).tolist()
        for name, given in (
            ("as it is", rows),
            ("shuffled", shuffled),
            ("of another place", others),
        )
    }
    order = apart(losses["shuffled"], losses["as it is"])
    all_of_it = apart(losses["of another place"], losses["as it is"])
    return Report(
        question="Does the order of what went before matter to this model?",
        setting=f"{run.path}, {len(rows)} windows of {T} tokens; the loss of the last {T - cut}, "
        f"the first {cut} as they are, shuffled, or of another place in the text",
        columns=("the context", "loss, nats per token"),
        rows=[(n, f"{mean_interval(x, AMOUNT):.4f}") for n, x in losses.items()],
        answer=order_conclusion(order, all_of_it),
        data={"losses": losses, "order": order.mean, "context": all_of_it.mean},
    )


def order_conclusion(order: Interval, all_of_it: Interval) -> str:
    """Say what the order of the context is worth.

    Args:
        order: by how much the loss rises where the context is shuffled.
        all_of_it: where it is of another place.
    """
    if not all_of_it > 0:
        return (
            f"Undecided: another context changes the loss by {all_of_it:.4f} nats, so the model "
            "makes no use of what lies so far back that these windows show, in whatever order."
        )
    if order > 0:
        return (
            f"Yes: shuffled, the context costs {order.mean:.4f} nats per token; one of another "
            f"place costs {all_of_it.mean:.4f}."
        )
    if order < 0:
        return f"No: with its context shuffled it predicts better, by {-order.mean:.4f} nats."
    return (
        f"Undecided: shuffling changes the loss by {order:.4f} nats, where another context costs "
        f"{all_of_it.mean:.4f}: it may use which tokens went before, and not their order."
    )


def induction_of_run(run: Run, seed: int = 0) -> Report:
    """Let the model read random tokens twice over: what it copies, it read in the context.

    Args:
        run: of a model that predicts text.
        seed: of the tokens.
    """
    if not run.task.is_prose:
        raise WhenceError(
            f"{run.path} doesn't predict running text: give a run of a language model."
        )
    model: Any = run.writer()
    half = min(LOOKS, run.recipe.model.context_length) // 2
    if half < 4:
        raise WhenceError(f"a window of {2 * half} tokens is too short to repeat anything.")
    size = run.tokenizer.vocab_size
    draw = np.random.default_rng(seed).integers(0, size, (WINDOWS, half))
    rows = np.concatenate((draw, draw, draw[:, :1]), 1)  # [N, 2·half + 1]
    losses = window_losses(model, rows)
    first = losses[:, : half - 1].mean(1).tolist()
    again = losses[:, half : 2 * half - 1].mean(1).tolist()
    head = _best_head(model, rows[:, :-1], half)
    saved = apart(first, again)
    return Report(
        question="Does this model copy what followed last time (… A B … A → B)?",
        setting=f"{run.path}, {half} random tokens of {size:,}, twice over, {WINDOWS} times; a "
        f"guess costs {math.log(size):.3f} nats",
        columns=("read", "loss, nats per token"),
        rows=[
            ("for the first time", f"{mean_interval(first, AMOUNT):.3f}"),
            ("again", f"{mean_interval(again, AMOUNT):.3f}"),
        ],
        answer=induction_conclusion(saved, mean_interval(again, AMOUNT).mean, math.log(size), head),
        data={"first": first, "again": again, "head": None if head is None else list(head)},
    )


def induction_conclusion(
    saved: Interval, again: float, guess: float, head: tuple[str, int, float] | None
) -> str:
    """Say whether the model copies from its context.

    Args:
        saved: by how much the loss is lower when the tokens come again.
        again: the loss then.
        guess: that of a guess.
        head: the head that looks most at the token to copy: layer, number, its share.
    """
    if saved > 0 and again < 0.5 * guess:
        told = f"Yes: it saves {saved.mean:.3f} nats per token when they come again."
    elif saved > 0:
        told = f"A little: it saves {saved.mean:.3f} nats per token when they come again, of "
        told += f"{guess:.3f} for a guess."
    elif saved < 0:
        told = f"No: what comes again costs {-saved.mean:.3f} nats more."
    else:
        told = f"Undecided: what comes again differs by {saved:.3f} nats, no more than chance."
    if head is None:
        return told + " It has no attention that could look back."
    return told + (
        f" Of its heads, head {head[1] + 1} of {head[0]} looks most at the token after the "
        f"earlier occurrence, with {head[2]:.2f} of its attention."
    )


def _best_head(model: Any, rows: np.ndarray, half: int) -> tuple[str, int, float] | None:
    tokens = torch.from_numpy(rows[:16].astype(np.int64))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with torch.inference_mode(), reading(model) as found:
        model(tokens.to(device))
    best = None
    at = torch.arange(half, 2 * half)
    for name, weights in found.items():
        looked = weights[:, :, at, at - half + 1].mean((0, 2))  # [H]
        share, head = looked.max(0)
        if best is None or share.item() > best[2]:
            best = (name, int(head), share.item())
    return best


def _windows(run: Run) -> np.ndarray:
    if not run.task.is_prose:
        raise WhenceError(
            f"{run.path} doesn't predict running text: give a run of a language model."
        )
    window = max(8, run.recipe.model.context_length)
    tokens = np.asarray(run.dataset.validation).astype(np.int64)
    starts, _ = spread(len(tokens), window, WINDOWS * window)
    if len(starts) < 2:
        raise WhenceError("the validation part is shorter than two windows: train on more text.")
    return tokens[starts[:, None] + np.arange(window + 1)]


ON_RUN: dict[str, Callable[..., Report]] = {"order": order_of_run, "induction": induction_of_run}
