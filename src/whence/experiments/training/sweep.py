"""A sweep: the same recipe trained at each combination of some settings, over several seeds."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.experiments.common import student
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.settings import nested
from whence.runs.training.creation import at_free, reserved
from whence.train.optimizer import NotFiniteError

MOST_RUNS = 1000


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        settings: what differs from the recipe, without the seed.
        seed: its seed.
        bits_per_byte: its last measurement of the validation part; NaN where training diverged.
        diverged: the sentence with which training refused to go on, or "".
        folder: the run.
    """

    settings: dict[str, Any]
    seed: int
    bits_per_byte: float
    diverged: str
    folder: Path


@dataclass(frozen=True)
class Point:
    """All seeds of one combination.

    Attributes:
        settings: the combination.
        mean: of bits per byte over the seeds; NaN where one diverged.
        spread: the standard deviation over the seeds; NaN for a single one.
        diverged: how many of them diverged.
        n: how many there are.
    """

    settings: dict[str, Any]
    mean: float
    spread: float
    diverged: int
    n: int


def sweep(
    recipe: Recipe,
    settings: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    folder: Path | None = None,
) -> Iterator[Trial]:
    """Train every combination of settings with every seed, and give each run as it is done.

    Every combination is checked before the first run is trained. A run that is there already and
    finished, from a sweep that was stopped, is not trained again; one that was begun goes on.

    Args:
        recipe: what all runs share.
        settings: fields of the recipe, and the values that each is to take.
        seeds: of the runs of each combination.
        folder: where the runs are saved; none: a free name under `runs/`.

    Raises:
        WhenceError: an unknown field, a value that doesn't fit, or more runs than are sensible.

    Example:
        >>> rates = {"optimizer.learning_rate": [1e-3, 3e-3]}
        >>> trials = sweep(Recipe(steps=100), rates, seeds=range(3))  # doctest: +SKIP
    """
    names = list(settings)
    combinations = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*settings.values())
    ]
    if len(combinations) * len(seeds) > MOST_RUNS:
        raise WhenceError(
            f"the sweep has {len(combinations) * len(seeds):,} runs: give fewer values or seeds "
            f"(at most {MOST_RUNS:,} runs)."
        )
    recipes = [Recipe.from_dict(nested(combination), recipe) for combination in combinations]
    source = recipe.data.open()
    folder = folder or at_free(Path("runs"), f"sweep {source.name}", reserved)
    for combination, each in zip(combinations, recipes, strict=True):
        for seed in seeds:
            path = folder / _name(combination, seed)
            wanted = replace(each, seed=seed)
            run = Run.open(path) if path.is_dir() else Run.create(wanted, path)
            yield _train(run, combination, seed)


def points(trials: Sequence[Trial]) -> list[Point]:
    """Put the seeds of each combination together, the lowest mean first, diverged ones last."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(repr(trial.settings), []).append(trial)
    found = [_point(group) for group in groups.values()]
    return sorted(found, key=lambda p: (math.isnan(p.mean), p.mean))


def settles(best: Point, second: Point) -> bool:
    """Whether the best point is better than another by all of a 95 % interval.

    It is that of the difference of two means: ± t·√(s₁²/n₁ + s₂²/n₂), with n₁ + n₂ − 2 degrees of
    freedom.
    """
    if best.diverged or second.diverged:
        return not best.diverged
    if best.n < 2 or second.n < 2:
        return False
    error = math.sqrt(best.spread**2 / best.n + second.spread**2 / second.n)
    return second.mean - best.mean > student(best.n + second.n - 2) * error


def _train(run: Run, settings: dict[str, Any], seed: int) -> Trial:
    diverged = ""
    if run.state != "finished":
        try:
            for _ in run.train():
                pass
        except NotFiniteError as error:
            diverged = str(error)
    evals = [] if diverged else run.evals
    bits = evals[-1]["bits_per_byte"] if evals else math.nan
    return Trial(settings, seed, bits, diverged, run.path)


def _point(group: list[Trial]) -> Point:
    values = [trial.bits_per_byte for trial in group]
    n, mean = len(values), sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
    diverged = sum(math.isnan(v) for v in values)
    return Point(group[0].settings, mean, spread, diverged, n)


def _name(settings: Mapping[str, Any], seed: int) -> str:
    parts = [f"{name.rpartition('.')[2]}={value}" for name, value in settings.items()]
    return "-".join([*parts, f"seed={seed}"]).replace("/", "_")
