"""`whence line`: the smallest model that learns, on your numbers or a coffee shop's."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.words import Rate
from whence.data.table import Table, read_table, table_of
from whence.errors import WhenceError
from whence.models.small.axes import Spread, Turned
from whence.models.small.line import (
    COFFEE_SHOP,
    HOUSES,
    Fit,
    Scale,
    least_squares,
    mean_squared_error,
)
from whence.play.fitting import Descent, descend
from whence.scalar import NotFiniteWarning

EXAMPLES = {"coffee": COFFEE_SHOP, "houses": HOUSES}


ALIKE = 1000.0  # condition number from which on it is remarked on
MANY = 20_000  # steps


def line(
    csv: tyro.conf.Positional[Path | None] = None,
    *,
    example: Literal["coffee", "houses"] = "coffee",
    target: str | None = None,
    steps: int = 20_000,
    learning_rate: Rate = 0.1,
    scale: bool = True,
    turn: bool | None = None,
    predict: tuple[float, ...] = (),
    json: bool = False,
) -> None:
    """Fit a line by gradient descent and compare it with the closed form.

    Args:
        csv: a CSV of two or more columns of numbers; the last one is predicted.
        example: without a CSV, which built-in table: a coffee shop's takings by distance, or house
            prices by size, rooms and age.
        target: the column to predict, by its name.
        steps: the most steps to take; the fit ends earlier if nothing changes.
        learning_rate: the length of a step, for standardised features.
        scale: standardise the features inside; without it the rate must fit their units.
        turn: turn the features inside to the directions in which they vary, so that one rate suits
            them all; by default, if descent would take more than 20,000 steps without.
        predict: features of a case never seen, for example 2.3 for the coffee shop.
        json: print one JSON object.
    """
    if target is not None and csv is None:
        raise WhenceError("--target names a column of a CSV: give the file before it.")
    table = read_table(csv, target) if csv else table_of(*EXAMPLES[example])
    if steps < 1 or not learning_rate > 0:
        raise WhenceError("A fit needs one step or more and a learning rate above 0.")
    if not csv and not predict and example == "coffee":
        predict = (2.3,)
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    spread = Spread.of(table.rows)
    needed = spread.steps(learning_rate)
    if turn and not scale:
        raise WhenceError("--turn standardises the features too: leave out --no-scale.")
    if turn is None:
        turn = scale and learning_rate < 1 and needed > max(steps, MANY)
    scaling = Turned.along(table.rows) if turn else Scale.of(table.rows)
    scaling = scaling if scale else Scale.none(len(table.features))
    say(
        f"{table.target} ≈ start + "
        + " + ".join(f"change{_index(table, i)} · {n}" for i, n in enumerate(table.features))
        + f", {len(table.rows)} rows, mean squared error, rate {learning_rate:g}"
        + (", features standardised inside" if scale else "")
        + (" and turned to their directions" if turn else "")
    )
    for remark in _alike(spread, needed, turn):
        say(remark)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)  # a fit that diverges says so itself
        last = _fit(table, scaling, learning_rate, steps, say)
    closed = least_squares(table.rows, table.targets)
    record = _report(table, last, closed, say)
    record["condition_number"] = spread.condition
    record["collinear_features"] = spread.repeats
    if predict:
        if len(predict) % len(table.features):
            raise WhenceError(
                f"--predict needs {len(table.features)} numbers for each case: "
                f"{', '.join(table.features)}."
            )
        cases = [
            list(predict[i : i + len(table.features)])
            for i in range(0, len(predict), len(table.features))
        ]
        for case in cases:
            named = ", ".join(
                f"{name} = {x:g}" for name, x in zip(table.features, case, strict=True)
            )
            say(f"for {named} it predicts {table.target} = {last.fit.predict(case):.6g}")
        record["predictions"] = [
            {"features": case, "prediction": last.fit.predict(case)} for case in cases
        ]
    if json:
        print(strict(record))


def _alike(spread: Spread, needed: float, turn: bool) -> list[str]:
    """What to know of features that vary together."""
    told = []
    if spread.repeats:
        told.append(
            f"{spread.repeats} of the features "
            f"{'is' if spread.repeats == 1 else 'are'} made of the others (exactly collinear): "
            "many lines are equally good, and the closed form shown is the one with the smallest "
            "weights; they are not a feature's own importance. Leave such a feature out."
        )
    elif spread.condition > ALIKE:
        told.append(
            f"the condition number of the features is {spread.condition:.3g}: some say nearly the "
            "same. That hardly touches predictions near the rows, but it does the weights: a small "
            f"change of a target is magnified up to {math.sqrt(spread.condition):.3g}-fold in them."
        )
    if turn or needed > MANY:
        takes = "would diverge" if needed == math.inf else f"would take some {needed:,.0f} steps"
        told.append(
            f"descent along the features as they are {takes} at this rate"
            + (
                "; they are turned inside to the directions in which they vary, each of size 1"
                if turn
                else ""
            )
        )
    return told


def _index(table: Table, i: int) -> str:
    return f"[{i + 1}]" if len(table.features) > 1 else ""


def _fit(
    table: Table,
    scaling: Scale | Turned,
    rate: float,
    steps: int,
    say: Callable[[str], None],
) -> Descent:
    """Train the line and print it as it learns; return its end."""
    names = ["start", *(f"change{_index(table, i)}" for i in range(len(table.features)))]
    turned = isinstance(scaling, Turned)
    inside = " (of standardised features)" if any(scaling.mean) else ""
    inside = " (along the directions)" if turned else inside
    n = len(scaling.inside(table.rows[:1])[0])
    moving = ["start", *(f"direction {i + 1}" for i in range(n))] if turned else names
    say(f"\n{'step':>6}  {'root of error':>13}  fit in your units | gradient, update{inside}")
    before: Descent | None = None
    for moment in descend(table, scaling, rate, steps):
        if before is not None and moment.step == before.step:  # the fit after the last step
            if moment.still:
                say(f"converged: nothing changes after {moment.step + 1} steps")
            return moment
        before = moment
        if _worth_a_line(moment.step) or moment.still or moment.step == steps - 1:
            fitted = "  ".join(
                f"{n} {x:.6g}"
                for n, x in zip(names, (moment.fit.start, *moment.fit.change), strict=True)
            )
            moves = "  ".join(
                f"{n} {g:+.4g}, {u:+.4g}"
                for n, g, u in zip(moving, moment.gradients, moment.updates, strict=True)
            )
            say(f"{moment.step:>6}  {math.sqrt(moment.loss):>13.6g}  {fitted} | {moves}")
    raise AssertionError("a descent ends with the fit behind its last step")


def _worth_a_line(step: int) -> bool:
    """Return whether a step is one of 0, 1, 2, 5, 10, 20, 50, 100 and so on."""
    return step == 0 or f"{step:g}".strip("0") in ("1", "2", "5")


def _report(table: Table, last: Descent, closed: Fit, say: Callable[[str], None]) -> dict[str, Any]:
    """Print the fit beside the closed form, and weights in both units."""
    fit = last.fit
    error = mean_squared_error(fit, table.rows, table.targets)
    best = mean_squared_error(closed, table.rows, table.targets)
    deviation = Scale.of(table.rows).deviation
    names = ["start", *table.features]
    width = max(map(len, names)) + 2
    say(f"\n{'':<{width}}{'by descent':>16}{'closed form':>16}{'importance':>14}")
    say(f"{'start':<{width}}{fit.start:>16.9g}{closed.start:>16.9g}")
    rows = zip(table.features, fit.change, closed.change, deviation, strict=True)
    for name, ours, theirs, d in rows:
        say(f"{name:<{width}}{ours:>16.9g}{theirs:>16.9g}{ours * d:>14.5g}")
    say(
        f"{'mean squared error':<{width}}{error:>16.9g}{best:>16.9g}\n"
        f"importance: what one standard deviation more of the feature changes in {table.target}; "
        "only these can be compared with one another"
    )
    apart = max(
        abs(a - b) for a, b in zip((fit.start, *fit.change), closed_row(closed), strict=True)
    )
    say(f"the largest difference from the closed form is {apart:.3g}")
    return {
        "schema": 1,
        "target": table.target,
        "features": table.features,
        "steps": last.step + 1,
        "start": fit.start,
        "change": fit.change,
        "importance": [c * d for c, d in zip(fit.change, deviation, strict=True)],
        "closed_form": {"start": closed.start, "change": closed.change},
        "mean_squared_error": error,
        "closed_form_mean_squared_error": best,
    }


def closed_row(fit: Fit) -> list[float]:
    """Return a fit's numbers in one row: start, then the changes."""
    return [fit.start, *fit.change]
