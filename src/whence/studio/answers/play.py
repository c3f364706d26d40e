"""Small models to play with."""

import re
import threading
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from whence.data.made.points import FEATURES, SHAPES
from whence.errors import shell_word
from whence.models.small.mlp import ACTIVATIONS
from whence.play import PRESETS, Edit, Session, Setup, read_edit, setup
from whence.play.opened import Opened
from whence.play.setup import OPTIMIZERS
from whence.receipt import Receipt
from whence.studio.answers.play_pictures import curves, facts, picture, scale_of, table, thumbnails

LINES = 8  # lines of arithmetic that are shown at once
_ONE_AT_A_TIME = threading.RLock()  # sessions are shared by the server's threads


def play(
    folder: Path,
    *,
    data: str = "three",
    hidden: tuple[int, ...] | None = None,
    activation: str | None = None,
    optimizer: str | None = None,
    rate: float | None = None,
    batch: int | None = None,
    noise: float | None = None,
    samples: int | None = None,
    features: tuple[str, ...] | None = None,
    seed: int | None = None,
    edits: tuple[str, ...] = (),
    step: int = 0,
    example: int = 0,
    op: int = 0,
    open: str = "",
) -> dict[str, Any]:
    """Show a small model at a step of its training, and the step that comes next.

    Args:
        folder: the folder of runs, which isn't needed.
        data: what is learnt; the fields from here to `seed` are those of `whence.play.Setup`.
        hidden: units of each hidden layer.
        activation: what they apply.
        optimizer: what moves the weights.
        rate: the learning rate.
        batch: samples of one update.
        noise: of points.
        samples: how many points.
        features: what is read of a point.
        seed: of all that is drawn.
        edits: numbers typed in, as `whence.play.read_edit` reads them.
        step: how many updates are done.
        example: which sample of the next batch is followed.
        op: how many operations of the next step are shown; 0 shows all of them.
        open: a number of the next step to be opened.

    Example:
        >>> found = play(Path("runs"), data="one", open="w1")
        >>> found["receipts"][0]["value"]
        2.6
    """
    chosen = setup(
        data,
        hidden=hidden,
        activation=activation,
        optimizer=optimizer,
        rate=rate,
        batch=batch,
        noise=noise,
        samples=samples,
        features=features,
        seed=seed,
    )
    typed = tuple(map(read_edit, edits))
    with _ONE_AT_A_TIME:
        now = _session(chosen, tuple(edit for edit in typed if edit.step <= step))
        now.go_to(step)
        return _shown(now, typed, example, op, open)


@lru_cache(16)
def _session(chosen: Setup, edits: tuple[Edit, ...]) -> Session:
    """The latest sessions are kept, so that a step more is one step."""
    return Session(chosen, edits)


def _shown(
    now: Session, typed: tuple[Edit, ...], example: int, op: int, open: str
) -> dict[str, Any]:
    chosen, step = now.setup, now.step
    opened = Opened(now, example)
    shown = opened.operations[:op]
    return {
        "setup": asdict(chosen),
        "thumbnails": thumbnails(),
        "scale": scale_of(now),
        "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
        "choices": {
            "activation": list(ACTIVATIONS),
            "optimizer": list(OPTIMIZERS),
            "features": list(FEATURES),
            "points": list(SHAPES),
        },
        "edits": [str(edit) for edit in typed],
        "rate": now.optimizer.learning_rate,
        "formula": now.formula,
        "step": step,
        "per_epoch": now.per_epoch,
        "batch": len(opened.chosen),
        "example": example,
        "sample": opened.chosen[example],
        "op": min(op, len(opened.operations)),
        "ops": len(opened.operations),
        "phase": shown[-1].phase if shown else "",
        "at": shown[-1].name if shown else "",
        "lines": [[o.phase, o.name, opened.line(o)] for o in shown[-LINES:]],
        "loss": opened.loss.data,
        "network": _network(now, opened, op),
        "curves": curves(now),
        "facts": facts(now),
        "dead": [
            {
                "unit": [k, j],
                "step": death.step,
                "why": death.why,
                "receipt": _receipt(death.receipt, opened) if death.receipt else None,
            }
            for (k, j), death in sorted(now.dead.items())
        ],
        "picture": picture(now),
        "table": table(now),
        "receipts": [_receipt(r, opened) for r in opened.receipts(open)] if open else [],
        "python": _python(chosen, typed, step),
        "shell": _shell(chosen, typed, step),
    }


def _network(now: Session, opened: Opened, op: int) -> dict[str, Any]:
    """The numbers on units and edges, as far as the operations that are shown have come."""
    done = set(opened.operations[: op or None])
    if not op:
        done = {o for o in done if o.phase != "update"}

    def number(v: Any, phase: str = "forward") -> Any:
        if (phase, v.label) not in done:
            return None
        return v.data if phase == "forward" else v.grad

    def weight(p: Any) -> dict[str, Any]:
        moved = ("update", p.label) in done
        return {
            "name": p.label,
            "value": opened.after[p.label] if moved else p.data,
            "slope": number(p, "backward"),
            "moved": moved,
        }

    inputs = opened.row(opened.inputs)
    names = now.samples.names
    layers, weights = [], []
    for k, (z, h) in enumerate(opened.pairs):
        W, b = now.model.layers[k]
        last = k == len(opened.pairs) - 1
        units = []
        for j, (a, c) in enumerate(zip(opened.row(z), opened.row(h), strict=True)):
            name = f"h{k + 1}" + (f"[{j + 1}]" if W.shape[1] > 1 else "")
            units.append(
                {
                    "name": "ŷ" if last else name,
                    "opens": c.label,
                    "z": number(a),
                    "h": number(c),
                    "z_opens": a.label,
                    "slope": number(c, "backward"),
                    "bias": weight(b[0, j]),
                }
            )
            weights += [
                {**weight(W[i, j]), "layer": k, "from": i, "to": j} for i in range(W.shape[0])
            ]
        layers.append(units)
    return {
        "inputs": [
            {"name": name, "opens": v.label, "value": v.data}
            for name, v in zip(names, inputs, strict=True)
        ],
        "layers": layers,
        "weights": weights,
    }


def _receipt(receipt: Receipt, opened: Opened) -> dict[str, Any]:
    """A receipt as plain values; a term's address stays where it can be opened in this step."""
    found = receipt.to_dict()
    for term in found["terms"]:
        known = term["address"] in opened.named
        term["address"] = term["address"] if known else _factor(term["label"], opened)
    return found


def _factor(label: str, opened: Opened) -> str | None:
    """What a term is made of, where it can be opened: `h1` of `h1 · w2`, `z1` of `relu(z1)`."""
    first = label.lstrip("−").split(" · ")[0]
    inside = re.fullmatch(r"\w+\((.+)\)", first)
    name = inside[1] if inside else first
    return name if name in opened.named else None


def _changes(chosen: Setup) -> dict[str, Any]:
    preset = PRESETS[chosen.data]
    names = [f.name for f in fields(Setup) if f.name not in ("data", "drawn")]
    return {
        name: getattr(chosen, name)
        for name in names
        if getattr(chosen, name) != getattr(preset, name)
    }


def _python(chosen: Setup, edits: tuple[Edit, ...], step: int) -> str:
    given = "".join(f", {name}={value!r}" for name, value in _changes(chosen).items())
    typed = f", edits={[str(edit) for edit in edits]!r}" if edits else ""
    return f'from whence.play import at; now = at({step}, "{chosen.data}"{typed}{given})'


def _shell(chosen: Setup, edits: tuple[Edit, ...], step: int) -> str:
    words = ["whence", "play", chosen.data, "--step", str(step)]
    if edits:
        words += ["--edits", *map(str, edits)]
    for name, value in _changes(chosen).items():
        words.append(f"--{name}")
        words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return " ".join(map(shell_word, words))
