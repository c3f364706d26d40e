"""Two runs side by side: what differs in their recipes, and what came of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whence.models.kinds import MODELS
from whence.runs.recipe import kind_of
from whence.runs.run import Run
from whence.runs.settings import differences
from whence.runs.store.records.record import Logs
from whence.runs.store.watched import Watched, is_watched


@dataclass(frozen=True)
class Comparison:
    """What two runs share and where they part.

    Attributes:
        recipe: (field, one's value, other's value), for the fields that differ.
        first_difference: the first step whose recorded losses differ; None where none does as far
            as both go.
        shared: how many steps both have done.
        curves: (step, one's loss, other's), thinned to some points, each a mean of steps up to it.
        bits_per_byte: the lowest of each on its validation text; None where none was measured.
        last_bits_per_byte: the last of each.
        samples: the last that each wrote; None where it wrote nothing.
        origin: where one is a fork of the other, a sentence that says so.
        same_text: both have the same tokens, so that their losses compare.

    Example:
        >>> from whence import Run
        >>> run = Run.open("runs/mine")
        >>> same: Comparison = compare(run, run)
        >>> same.recipe, same.first_difference, same.same_text
        ([], None, True)
    """

    recipe: list[tuple[str, Any, Any]]
    first_difference: int | None
    shared: int
    curves: list[tuple[int, float | None, float | None]]
    bits_per_byte: tuple[float | None, float | None]
    last_bits_per_byte: tuple[float | None, float | None]
    samples: tuple[str | None, str | None]
    origin: str | None
    same_text: bool


def compare(a: Run, b: Run, points: int = 12) -> Comparison:
    """Compare two runs.

    Args:
        a: one.
        b: the other.
        points: rows of the curves.

    Raises:
        WhenceError: where a record is damaged.

    Example:
        >>> import tempfile
        >>> from whence.data import text_source
        >>> from whence import GPTConfig, Recipe, Run, fork
        >>> tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
        >>> cats = text_source("cats", lambda: ["the cat sat on the mat. " * 99])
        >>> run = Run.create(Recipe(model=tiny, steps=3), f"{tempfile.mkdtemp()}/tiny", cats)
        >>> events = list(run.train())
        >>> slow = fork(run, 1, f"{run.path}-slow", {"optimizer.learning_rate": 1e-4})
        >>> events = list(slow.train())
        >>> compare(run, slow).first_difference
        2
    """
    one, other = a.steps.column("loss"), b.steps.column("loss")
    shared = min(len(one), len(other))
    apart = np.flatnonzero(one[:shared].view(np.int64) != other[:shared].view(np.int64))
    return Comparison(
        recipe=differences(a.recipe.to_dict(), b.recipe.to_dict()),
        first_difference=int(apart[0]) if len(apart) else None,
        shared=shared,
        curves=curves(one, other, points),
        bits_per_byte=(_bits(a, min), _bits(b, min)),
        last_bits_per_byte=(_bits(a, lambda values: values[-1]), _bits(b, lambda v: v[-1])),
        samples=(_sample(a), _sample(b)),
        origin=_origin(a, b) or _origin(b, a),
        same_text=a.dataset.tokens_sha256 == b.dataset.tokens_sha256,
    )


def compare_folders(a: Path, b: Path, points: int = 12) -> Comparison:
    """Compare two runs' folders, of which any may be that of a watched loop.

    A watched loop has no recipe and no text: its classes, sizes and what it ran on are compared.

    Args:
        a: one folder.
        b: the other.
        points: how many points of the curves are returned.

    Raises:
        WhenceError: where there is no run, or a record is damaged.

    Example:
        >>> compare_folders(Path("runs/mine"), Path("runs/watched")).shared
        4
    """
    if not is_watched(a) and not is_watched(b):
        return compare(Run.open(a), Run.open(b), points)
    one, other = (Logs(path).read_steps().column("loss") for path in (a, b))
    shared = min(len(one), len(other))
    apart = np.flatnonzero(one[:shared].view(np.int64) != other[:shared].view(np.int64))
    return Comparison(
        recipe=differences(_described(a), _described(b)),
        first_difference=int(apart[0]) if len(apart) else None,
        shared=shared,
        curves=curves(one, other, points),
        bits_per_byte=(None, None),
        last_bits_per_byte=(None, None),
        samples=(None, None),
        origin=None,
        same_text=is_watched(a) and is_watched(b),
    )


def _described(path: Path) -> dict[str, Any]:
    if not is_watched(path):
        recipe = Run.open(path).recipe
        return {
            "model": kind_of(recipe.model, MODELS),
            "optimizer": type(recipe.optimizer).__name__,
        }
    found = Watched.read(path)
    return {
        "model": ", ".join(found.models),
        "optimizer": ", ".join(found.optimizers),
        "parameters": found.parameters,
        **found.manifest,
    }


def curves(
    one: np.ndarray, other: np.ndarray, points: int
) -> list[tuple[int, float | None, float | None]]:
    """Thin the losses of two runs, [N] each, to the means of so many stretches of steps.

    Args:
        one: the losses of one run.
        other: those of the other.
        points: how many stretches.

    Returns:
        (the stretch's end, one's mean loss, other's); none where a run has no such steps.

    Example:
        >>> curves(np.array([4.0, 2.0, 1.0]), np.array([4.0]), 2)
        [(2, 3.0, 4.0), (3, 1.0, None)]
    """
    length = max(len(one), len(other))
    ends = sorted({round(length * k / points) for k in range(1, points + 1)} - {0})

    def mean(losses: np.ndarray, start: int, stop: int) -> float | None:
        return float(losses[start:stop].mean()) if start < len(losses) else None

    starts = [0, *ends[:-1]]
    return [(e, mean(one, s, e), mean(other, s, e)) for s, e in zip(starts, ends, strict=True)]


def _bits(run: Run, pick) -> float | None:
    values = [e["bits_per_byte"] for e in run.evals if not e["whole"]]
    return pick(values) if values else None


def _sample(run: Run) -> str | None:
    samples = run.samples
    return samples[-1]["text"] if samples else None


def _origin(child: Run, parent: Run) -> str | None:
    origin = child.origin
    if origin is None or origin.run != str(parent.path):
        return None
    changes = "; ".join(origin.changes) or "nothing changed"
    made = "forked from" if origin.how == "fork" else "started from the weights of"
    return f"{child.name} was {made} {parent.name} at step {origin.step}: {changes}"
