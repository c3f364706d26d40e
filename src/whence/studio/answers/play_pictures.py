"""What a small model computes everywhere: pictures, curves and tables of a play session."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from whence.data.made.points import SHAPES, features
from whence.models.small.line import Fit, least_squares, mean_squared_error
from whence.play import PRESETS, Session
from whence.play.setup import samples, setup
from whence.runs.store.records.curves import thin

FEW = 60  # samples of a thumbnail
FINE, COARSE = 60, 20  # points along a side: of the output's picture, of a hidden unit's
BUCKETS = 200


@lru_cache(1)
def thumbnails() -> dict[str, Any]:
    """A few samples of each thing that can be learnt, from 0 to 1 both ways: x, y and class."""
    found = {}
    for name in PRESETS:
        s = samples(setup(name))
        rows = np.array([[*row, y] for row, y in zip(s.raw, s.y, strict=True)])[:FEW]
        plane = name in SHAPES or rows.shape[1] > 2
        where = rows[:, :2]
        low, high = where.min(0), where.max(0)
        span = np.where(high > low, high - low, 1.0)
        inside = np.where(high > low, (where - low) / span, 0.5).astype(np.float32)
        found[name] = {"at": inside, "label": rows[:, -1].astype(np.int32) if plane else None}
    return found


def scale_of(now: Session) -> dict[str, float] | None:
    """The mean and the deviation that standardised the only input, where it was."""
    scale = now.samples.scale
    if len(scale.mean) != 1 or (scale.mean, scale.deviation) == ([0.0], [1.0]):
        return None
    return {"mean": scale.mean[0], "deviation": scale.deviation[0]}


def curves(now: Session) -> dict[str, Any]:
    """The loss of every step, of every epoch, and of the samples held out."""
    losses = np.array(now.losses)
    at = thin(losses, BUCKETS)
    found = {"step": {"steps": at, "values": losses[at]}}
    ends = now.per_epoch * np.arange(1, len(now.means) + 1, dtype=np.int32)
    for name, values in (("epoch", now.means), ("held", now.held)):
        epochs = np.array(values)
        chosen = thin(epochs, BUCKETS)
        found[name] = {"steps": ends[chosen], "values": epochs[chosen]}
    return found


def facts(now: Session) -> dict[str, Any]:
    """A few numbers that say how far it has come."""
    s = now.samples
    found: dict[str, Any] = {
        "parameters": len(now.parameters),
        "samples": len(s.y),
        "epoch": now.means[-1] if now.means else None,
        "held": now.held[-1] if now.held else None,
    }
    if now.setup.data in SHAPES:
        for name, x, y in (("right", s.x, s.y), ("right_held", s.held_x, s.held_y)):
            out = _outputs(now, x)[:, 0]
            found[name] = float(((out > 0) == torch.tensor(y).bool()).double().mean())
    if now.setup.data == "coffee" and not now.setup.hidden:
        W, b = now.model.layers[0]
        best = least_squares(s.raw, s.y)
        lines = (("fit", s.scale.fit(b[0, 0].data, [W[0, 0].data])), ("closed", best))
        for name, fit in lines:
            error = mean_squared_error(fit, s.raw, s.y)
            found[name] = {"start": fit.start, "change": fit.change[0], "loss": error}
        found["asked"] = {"distance": 2.3, "answer": lines[0][1].predict([2.3])}
    return found


def picture(now: Session) -> dict[str, Any]:
    """What the network answers everywhere: P(class 1) over the plane, or ŷ over its only input."""
    if now.setup.data in SHAPES:
        return _plane(now)
    s = now.samples
    if len(s.names) > 1:
        return {}
    xs = [row[0] for row in s.raw]
    low, high = min(0.0, min(xs)), max(xs) * 1.15
    line = np.linspace(low, high, 120)
    found: dict[str, Any] = {
        "kind": "curve",
        "x": np.array(xs),
        "y": np.array(s.y),
        "at": line.astype(np.float64),
        "answer": _outputs(now, s.scale.inside([[x] for x in line.tolist()]))[:, 0].numpy(),
    }
    if now.setup.data == "coffee":
        fit: Fit = least_squares(s.raw, s.y)
        found["closed"] = np.array([fit.predict([x]) for x in line.tolist()])
    return found


def _plane(now: Session) -> dict[str, Any]:
    s = now.samples
    everything = np.array(s.raw + s.held_raw)
    limit = float(np.ceil(np.abs(everything).max() * 10.5) / 10)
    read = [_grid(limit, side, now.setup.features) for side in (FINE, COARSE)]
    fine, coarse = (now.tensors().trace(x) for x in read)
    return {
        "kind": "plane",
        "limit": limit,
        "points": np.array(s.raw, np.float32),
        "labels": np.array(s.y, np.int32),
        "held_points": np.array(s.held_raw, np.float32).reshape(-1, 2),
        "held_labels": np.array(s.held_y, np.int32),
        "p": _square(torch.sigmoid(fine[-1][1])[:, 0], FINE),
        "inputs": read[1].T.reshape(-1, COARSE, COARSE).numpy().astype(np.float32),
        "units": [
            h.T.reshape(-1, COARSE, COARSE).numpy().astype(np.float32) for _, h in coarse[:-1]
        ],
    }


@lru_cache(16)
def _grid(limit: float, side: int, names: tuple[str, ...]) -> torch.Tensor:
    """What is read in the middles of a square's cells, from its upper left corner on."""
    middles = ((np.arange(side) + 0.5) / side * 2 - 1) * limit
    where = [(float(x), float(-y)) for y in middles for x in middles]
    return torch.tensor(features(where, names), dtype=torch.float64)


def _square(values: torch.Tensor, side: int) -> np.ndarray:
    return values.reshape(side, side).numpy().astype(np.float32)


def _outputs(now: Session, x: list[list[float]]) -> torch.Tensor:
    inputs = torch.tensor(x, dtype=torch.float64).reshape(len(x), len(now.samples.names))
    return now.tensors()(inputs)


def table(now: Session) -> dict[str, Any]:
    """The samples with what is predicted for them; of points the first few."""
    s = now.samples
    raw, y = s.raw[:12], s.y[:12]
    out = now.tensors()(torch.tensor(s.x[:12], dtype=torch.float64))[:, 0]
    points = now.setup.data in SHAPES
    shown = torch.sigmoid(out) if points else out
    heads = ["x1", "x2"] if len(raw[0]) > 1 else [now.samples.names[0]]
    return {
        "heads": [*heads, "class" if points else "y", "P(class 1)" if points else "ŷ"],
        "rows": [[*row, t, p] for row, t, p in zip(raw, y, shown.tolist(), strict=True)],
        "more": len(s.y) - len(y),
    }
