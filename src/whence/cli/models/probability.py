"""`whence probability`: the probability of a text, token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.models.evaluate import which
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.runs.questions.scores import Scores

SHOWN = 200  # rows


def probability(
    run: Annotated[Path, tyro.conf.Positional],
    text: Annotated[str, tyro.conf.Positional],
    /,
    *,
    checkpoint: str = "best",
    json: bool = False,
) -> None:
    """Compute the probability of a text: a product of one factor for each token.

    P(w1 … wn) = P(w1) · P(w2 | w1) · P(w3 | w1 w2) · …, the first after a line break. Logarithms
    are natural ones, so that the product is a sum.

    Args:
        run: the run's folder, such as runs/topics-1.
        text: the text or a file; for a model of pairs: source, tab, target.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        json: print JSON instead of a table.
    """
    from whence.runs.questions.scores import score

    opened = Run.open(run)
    scores = score(opened, _read(text), which(opened, checkpoint))
    if json:
        rows = zip(scores.tokens, scores.log_probabilities.tolist(), strict=True)
        record = {
            "schema": 1,
            "run": str(run),
            "before": scores.before,
            "tokens": [{"token": t, "ln_p": x, "p": math.exp(x)} for t, x in rows],
            "ln_p": scores.total,
            "p": scores.probability,
            "perplexity": scores.perplexity,
            "bits_per_byte": scores.bits_per_byte,
        }
        print(strict(record))
        return
    console = Console(soft_wrap=True)
    console.print(_table(scores))
    n = len(scores.tokens)
    if n > SHOWN:
        console.print(f"and {n - SHOWN:,} more tokens; --json has them all")
    console.print(
        f"\nln P = {scores.total:.6f}, so P = {_power(scores.total)}: "
        f"{n:,} token{'s' * (n != 1)}, perplexity {scores.perplexity:.4f}, "
        f"{scores.bits_per_byte:.4f} bits per byte"
    )


def _read(text: str) -> str:
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # longer than a name can be
        is_file = False
    if not is_file:
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WhenceError(f"{text} can't be read ({error}): give a UTF-8 file.") from None


def _table(scores: Scores) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(f"token, after {scores.before!r}")
    for name in ("P given all before", "ln P", "ln P so far"):
        table.add_column(name, justify="right")
    so_far = 0.0
    rows = zip(scores.tokens, scores.log_probabilities.tolist(), strict=True)
    for token, x in [*rows][:SHOWN]:
        so_far += x
        table.add_row(repr(token), f"{math.exp(x):.6f}", f"{x:.6f}", f"{so_far:.6f}")
    return table


def _power(ln: float) -> str:
    """E to a power, even where a float can't represent it.

    Example:
        >>> _power(-2.0), _power(-2000.0)
        ('0.135335', '2.58e-869')
    """
    if ln > -300:
        return f"{math.exp(ln):.6g}"
    if ln == -math.inf:
        return "0"
    exponent = math.floor(ln / math.log(10))
    return f"{10 ** (ln / math.log(10) - exponent):.2f}e{exponent}"
