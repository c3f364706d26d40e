"""`whence rates`: what five learning rates do to one small run, and which rate to use."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from whence.cli.chart import bars
from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.data.table import read_table, table_of
from whence.errors import WhenceError
from whence.models.small.line import (
    COFFEE_SHOP,
    least_squares,
    mean_squared_error,
)
from whence.play.line_rates import judged, losses_at, stepper
from whence.play.line_rates import one_step as one_step_of
from whence.play.rates import range_test, rising


def rates(
    csv: tyro.conf.Positional[Path | None] = None,
    *,
    rates: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0),
    steps: int = 100,
    json: bool = False,
) -> None:
    """Train the same line at several learning rates and say what each one did; then suggest a rate.

    For a run, the range test uses its own recipe and text, from its initial weights.

    Args:
        csv: a CSV of two or more columns of numbers, without it the coffee shop's; or the folder
            of a run.
        rates: the learning rates to try.
        steps: how many steps each run takes, and the range test on a run.
        json: print one JSON object.
    """
    if csv is not None and csv.is_dir():
        _of_run(csv, steps, json)
        return
    if steps < 2 or any(not rate > 0 for rate in rates):
        raise WhenceError("Comparing rates needs two steps or more and rates above 0.")
    table = read_table(csv) if csv else table_of(*COFFEE_SHOP)
    best = mean_squared_error(least_squares(table.rows, table.targets), table.rows, table.targets)
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    say("a parameter of 0.5 with gradient −0.2, after one step:")
    one_step = {rate: one_step_of(rate) for rate in rates}
    say("  " + "   ".join(f"rate {rate:g} → {p:.4f}" for rate, p in one_step.items()))
    say(f"\nthe line of {table.target}, {steps} steps from 0, least possible loss {best:.6g}:")
    middle = f"at {steps // 10}"
    say(f"{'rate':>8}  {'loss at 0':>12}{middle:>14}{'at the end':>14}  what happened")
    record: dict[str, Any] = {"schema": 1, "best_loss": best, "runs": []}
    for rate in rates:
        losses = losses_at(table, rate, steps)
        what = judged(table, rate, losses, best)
        early = losses[min(steps // 10, len(losses) - 1)]
        numbers = f"{losses[0]:>12.6g}{early:>14.6g}{losses[-1]:>14.6g}"
        say(f"{rate:>8g}  {numbers}  {_sentence(what, losses)}")
        record["runs"].append(
            {
                "learning_rate": rate,
                "one_step": one_step[rate],
                "losses": [x if math.isfinite(x) else None for x in losses],
                "verdict": what,
            }
        )
    found = range_test(stepper(table), rising(1e-5, 100.0, 120))
    leaves = "it never leaves" if found.diverges is None else f"it leaves at {found.diverges:.3g}"
    say(
        f"\nrange test: one step at each of {len(found.rates)} rising rates; {leaves}; "
        f"a rate to use: {found.proposed:.2g}"
    )
    losses = losses_at(table, found.proposed, steps)
    what = judged(table, found.proposed, losses, best)
    say(f"{steps} steps at {found.proposed:.2g}: loss {losses[-1]:.6g}, {what}")
    record["range_test"] = {
        "rates": found.rates,
        "losses": found.losses,
        "diverges": found.diverges,
        "proposed": found.proposed,
        "verdict": what,
    }
    if json:
        print(strict(record))


def _of_run(path: Path, steps: int, json: bool) -> None:
    """The range test on a run."""
    from whence.cli.small.experiment import print_report, record_of
    from whence.experiments.training.rate_test import rates_of_run
    from whence.runs.run import Run

    report = rates_of_run(Run.open(path), steps)
    if json:
        print(strict(record_of("rates", report)))
        return
    console = Console()
    print_report(console, report)
    losses = report.data["losses"]
    console.print(
        f"\nloss from {report.data['rates'][0]:.3g} to {report.data['rates'][-1]:.3g}\n  "
        f"{bars(losses, min(losses), max(losses[0], min(losses) * 1.2))}",
        soft_wrap=True,
    )


def _sentence(what: str, losses: list[float]) -> str:
    if what == "diverged":
        grew = next((i for i, x in enumerate(losses) if not x <= losses[0]), None)
        if grew is None:
            return "diverges: the loss has turned and grows"
        climbs = "" if losses[-1] > 10 * losses[0] or not math.isfinite(losses[-1]) else ", slowly"
        return f"diverges{climbs}: the loss is above its start from step {grew} on, and grows"
    return {
        "swings": "swings: every step jumps over the lowest point and back",
        "crawls": "crawls: most of the way is left",
        "arrived": "arrived",
        "on its way": "on its way",
    }[what]
