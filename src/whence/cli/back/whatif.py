"""`whence what-if`: what the model would be without some of its text."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.runs.run import Run


def what_if(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    without: str,
    step: int | None = None,
    since: int = 0,
    prompt: str | None = None,
    top: int = 5,
    json: bool = False,
) -> None:
    """Replay a run without the windows that touch a text, and show what that changes.

    Args:
        run: the run's folder.
        without: the text, exactly as in the training text; every occurrence counts.
        step: compare the states before this step; none: at the end.
        since: keep the windows of the steps before this one.
        prompt: also compare what comes after this text; none: after the first half of the text.
        top: how many of the likeliest tokens to show.
        json: print JSON instead of tables.
    """
    from whence.runs.questions.whatif import what_if as ask

    opened = Run.open(run)
    step = len(opened.steps) if step is None else step
    seconds = opened.steps.seconds(0, step)
    if not json:
        print(f"replaying up to {step:,} steps, twice {seconds:.1f} s at most", file=sys.stderr)
    answer = ask(opened, without, step, since)
    prompt, after = _halves(opened, without) if prompt is None else (prompt, [])
    expected = opened.tokenizer.token(after[0]) if after else None
    text, (was, would) = answer.text_losses(), answer.evaluations()
    rows = list(answer.predictions(prompt, top, after[:1]))
    if json:
        record = {
            "step": step,
            "windows": [{"step": k, "start": start} for k, start in answer.dropped],
            "places": answer.ranges,
            "text_loss": text,
            "validation_loss": (was.loss, would.loss),
            "prompt": prompt,
            "expected": expected,
            "predictions": [{"token": t, "was": p, "would_be": q} for t, p, q in rows],
        }
        print(strict({"schema": 1, **record}))
        return
    console = Console(soft_wrap=True)
    first, last = answer.dropped[0][0], answer.dropped[-1][0]
    console.print(
        f"{without[:60]!r} occurs at {len(answer.ranges)} place(s) in the training "
        f"text; {len(answer.dropped)} windows with it were trained on, in steps {first:,} to "
        f"{last:,}. Without them, before step {step:,}:"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("", "as it was", "without", "change"):
        table.add_column(name, justify="right" if name in ("as it was", "without") else "left")
    for name, (mine, theirs) in {
        "loss on that text": text,
        "validation loss": (was.loss, would.loss),
        "validation bits/byte": (was.bits_per_byte, would.bits_per_byte),
    }.items():
        table.add_row(name, f"{mine:.4f}", f"{theirs:.4f}", f"{theirs - mine:+.4f}")
    for token, p, q in rows:
        shown = f"P('{token}' after {prompt[-20:]!r})"
        mark = "  ← as in the text" if token == expected else ""
        table.add_row(shown, f"{p:.4f}", f"{q:.4f}", f"{q - p:+.4f}{mark}")
    console.print(table)


def _halves(run: Run, text: str) -> tuple[str, list[int]]:
    """Cut a text between two of its tokens: the first half, and the tokens of the second."""
    tokens = [int(token) for token in run.tokenizer.encode(text)]
    cut = max(1, len(tokens) // 2)
    return run.tokenizer.decode(tokens[:cut]), tokens[cut:]
