"""Does more context make better predictions? On a run, for each doubling of the context."""

from itertools import pairwise
from typing import Literal

from whence.data import Source
from whence.experiments.common import AMOUNT, Drawing, Interval, Report, apart, mean_interval
from whence.runs.questions.position import loss_by_context, loss_by_position
from whence.runs.run import Run


def context(
    run: Run,
    text: Source | None = None,
    at: int | Literal["best", "last"] = "best",
    most: int = 200_000,
) -> Report:
    """Measure a run's loss by position in the window, and what each doubling of the context buys.

    Args:
        run: of a model that predicts text.
        text: as of `loss_by_position`.
        at: which checkpoint.
        most: at most so many tokens.

    Raises:
        WhenceError: as `loss_by_position`.
    """
    places = loss_by_position(run, text, at, most)
    found = loss_by_context(run, text, at, most)
    gains = [apart(a, b) for a, b in pairwise(found.losses)]
    names = [f"{low}" if low == high else f"{low}–{high}" for low, high in found.contexts]
    rows = [
        (name, f"{mean_interval(losses, AMOUNT):.4f}", f"{gain:+.4f}" if gain else "")
        for name, losses, gain in zip(names, found.losses, [None, *gains], strict=True)
    ]
    n = len(found.losses[0])
    return Report(
        question="Does more context make better predictions?",
        setting=f"{run.path}; the same {n * (found.contexts[-1][0]):,} tokens predicted with ever "
        f"more tokens before them; 95 % intervals over {n:,} stretches of the text",
        columns=("tokens before", "loss, nats per token", "less than the row above"),
        rows=rows,
        answer=conclusion(found.contexts, gains, apart(found.losses[0], found.losses[-1])),
        data={
            "by_position": places.means,
            "contexts": found.contexts,
            "losses": [sum(x) / len(x) for x in found.losses],
            "gains": [[g.mean, g.low, g.high] for g in gains],
        },
        drawing=Drawing(
            "Loss by position in the window",
            {"loss": [(t, loss) for t, loss in enumerate(places.means, start=1)]},
            x="tokens before",
            y="nats per token",
        ),
    )


def conclusion(doublings: list[tuple[int, int]], gains: list[Interval], whole: Interval) -> str:
    """Say what each doubling buys, as far as the windows settle it.

    Args:
        doublings: the stretches of context.
        gains: by how much the loss is lower with each than with the one before.
        whole: by how much it is lower in the last than in the first.
    """
    helped = [i for i, gain in enumerate(gains) if gain > 0]
    hurt = [i for i, gain in enumerate(gains) if gain < 0]
    if whole < 0 or (hurt and not helped):
        return "No: with more context its predictions are worse here."
    if not helped:
        return (
            "Undecided: no doubling of the context lowers the loss by more than chance. Either the "
            "model doesn't use it, or the text is too short to show."
        )
    if not whole > 0:
        return f"Undecided: some doublings help, but from one to all the loss falls by {whole:.3f}."
    last = helped[-1]
    told = f"Yes, up to {doublings[last + 1][1]} tokens: the first doubling buys "
    told += f"{gains[helped[0]].mean:.3f} nats"
    told += f", the last that shows {gains[last].mean:.3f}. " if last > helped[0] else ". "
    if hurt:
        low, high = doublings[hurt[0] + 1]
        told += f"With {low} to {high} tokens before it, it predicts worse than with fewer. "
    if last + 1 < len(gains):
        told += "What more context than that buys, this text doesn't show."
    else:
        told += "Its window ends there: a longer one may buy more."
    return told
