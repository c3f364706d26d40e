"""The range test on a run's own recipe: which learning rate suits this model and this text?"""

import math
from dataclasses import replace

import torch

from whence.errors import WhenceError
from whence.experiments.common import Report
from whence.play.rates import Range, range_test, rising
from whence.runs.run import Run
from whence.train.optimizer import NotFiniteError
from whence.train.schedules import Schedule

SMOOTHING = 0.8  # share of the mean of the losses so far; batches differ


def rates_of_run(run: Run, n: int = 100, low: float = 1e-3, high: float = 1e3) -> Report:
    """Train a run's model again, from its first weights, by one step at each of n rising rates.

    The run itself isn't touched. The loss is smoothed over the steps, because batches differ.

    Args:
        run: its recipe, text and first weights are used.
        n: how many rates, and steps.
        low: the first rate, as a share of the recipe's own.
        high: the last one.

    Raises:
        WhenceError: a counted model, or a loss that never fell.

    Source:
        Smith, "Cyclical learning rates for training neural networks", 2017.
    """
    run.refuse_counted()
    if n < 10:
        raise WhenceError(f"a range test of {n} steps shows nothing: give 10 or more.")
    session = run.session()
    optimizer, own = session.optimizer, run.recipe.optimizer.learning_rate
    optimizer.schedule = replace(Schedule("constant", warmup=0))
    peaks = dict(optimizer.peaks)
    mean, raw = 0.0, []

    def step(rate: float) -> float:
        nonlocal mean
        optimizer.peaks = {name: peak * rate / own for name, peak in peaks.items()}
        try:
            ((_, loss),) = session.learn([len(raw)])
        except NotFiniteError:
            return math.inf
        raw.append(float(loss))
        mean = SMOOTHING * mean + (1 - SMOOTHING) * raw[-1]
        return mean / (1 - SMOOTHING ** len(raw))

    with torch.random.fork_rng(devices=[]):
        found = range_test(step, rising(low * own, high * own, n))
    shown = range(0, len(found.rates), max(1, len(found.rates) // 12))
    return Report(
        question="Which learning rate suits this model and this text?",
        setting=f"{run.path} from its first weights, one step at each of {len(found.rates)} rising "
        f"rates; its recipe says {own:g}",
        columns=("rate", "loss before the step, smoothed"),
        rows=[(f"{found.rates[i]:.3g}", f"{found.losses[i]:.4f}") for i in shown],
        answer=conclusion(found, own),
        data={
            "rates": found.rates,
            "losses": found.losses,
            "raw": raw,
            "proposed": found.proposed,
            "diverges": found.diverges,
            "own": own,
        },
    )


def conclusion(found: Range, own: float) -> str:
    """Say what the test proposes, and where the recipe's own rate lies.

    Args:
        found: what the range test found.
        own: the recipe's rate.
    """
    if found.diverges is None and found.losses[-1] <= 1.05 * min(found.losses):
        return (
            f"Undecided: up to {found.rates[-1]:.3g} the loss never turned, so the test has not "
            "reached the largest rate at which this model still trains."
        )
    leaves = "" if found.diverges is None else f" It leaves for good at {found.diverges:.3g}."
    told = f"The loss is least near {10 * found.proposed:.3g} and grows above; a tenth of that, "
    told += f"{found.proposed:.2g}, is a rate to try.{leaves} "
    if own > 10 * found.proposed:
        return told + f"The recipe's {own:g} lies above where it grows: it is likely too large."
    if own < 0.1 * found.proposed:
        return told + f"The recipe's {own:g} is less than a tenth of it: it may crawl."
    return told + f"The recipe's {own:g} is of that size."
