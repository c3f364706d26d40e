"""`whence evaluate`: the loss on all of a text."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from whence.cli.document import strict
from whence.cli.words import Texts
from whence.data import Source, open_source
from whence.errors import WhenceError
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.train.evaluation import Evaluation


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    text: Texts = (),
    /,
    *,
    checkpoint: str = "best",
    overlap: bool = False,
    json: bool = False,
) -> None:
    """Measure a model on all of a text: loss, perplexity, bits per byte.

    It measures as training does, in adjacent windows, so the figures are the same.

    Args:
        run: the run's folder, such as runs/topics-1.
        text: files, folders, `-` or a built-in text; none: the run's validation part.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        overlap: let windows overlap by half, so that each token but the first few is predicted
            with at least half a window before it; `whence ladder` measures so.
        json: print JSON instead of a table.
    """
    opened = Run.open(run)
    result = opened.evaluate(open_text(opened, text), at=which(opened, checkpoint), overlap=overlap)
    name = ", ".join(text) if text else f"the validation part of {opened.dataset.source}"
    if json:
        record = {
            "schema": 1,
            "run": str(run),
            "text": list(text) or None,
            "windows": "overlapping by half" if overlap else "side by side",
            "tokens": result.n_tokens,
            "bytes": result.n_bytes,
            "loss": result.loss,
            "perplexity": result.perplexity,
            "bits_per_byte": result.bits_per_byte,
            "exact_match": result.exact_match,
            "unknown": result.n_unknown,
            "left_out": dict(result.left_out),
        }
        print(strict(record))
        _refuse_nan(opened, result)
        return
    _refuse_nan(opened, result)
    windows = ", windows overlapping by half" if overlap else ""
    print(f"{name}: {result.n_tokens:,} tokens predicted, {result.n_bytes:,} bytes{windows}")
    print(f"  loss           {result.loss:.4f} nats per token")
    print(f"  perplexity     {result.perplexity:.3f} per token")
    print(f"  bits per byte  {result.bits_per_byte:.4f}")
    if result.loss == math.inf:
        print("  it gives probability 0 to a token of the text: smooth it (--model.smoothing)")
    if result.left_out:
        count = sum(result.left_out.values())
        shown = " ".join(sorted(result.left_out, key=lambda c: -result.left_out[c])[:12])
        print(
            f"  left out       {count:,} characters that the model has never seen and can't "
            f"predict ({shown}): what is measured is the rest"
        )
    if result.n_unknown:
        print(
            f"  unknown words  {result.n_unknown:,}: their spelling costs nothing here, which "
            "flatters bits per byte"
        )
    if result.exact_match is not None:
        print(f"  exact match    {result.exact_match:.2%} of the targets")


def _refuse_nan(run: Run, result: Evaluation) -> None:
    if math.isnan(result.loss):
        raise WhenceError(
            f"the loss is not a number: the training of {run.path} diverged; measure an earlier "
            "state (--checkpoint N), or train again with a lower learning rate."
        )


def open_text(run: Run, names: tuple[str, ...]) -> Source | None:
    """Open the texts a command names, read as the run's own; None where it names none."""
    data = run.recipe.data
    return open_source(names, data.normalize, data.field, data.documents) if names else None


def which(run: Run, checkpoint: str) -> int | Literal["best", "last"]:
    """Read which model of a run is wanted; say so if it has to be replayed.

    Raises:
        WhenceError: where it is none.
    """
    from whence.runs.replay import estimate
    from whence.runs.trained import step_of

    if checkpoint in ("best", "last"):
        return checkpoint
    if not checkpoint.isdecimal():
        raise WhenceError(f"--checkpoint is {checkpoint!r}: give best, last or a step.")
    step = int(checkpoint)
    if step not in run.checkpoints and step_of(run, step):
        steps, seconds = estimate(run, step)
        print(f"replaying {steps:,} steps, which took {seconds:.1f} s", file=sys.stderr)
    return step
