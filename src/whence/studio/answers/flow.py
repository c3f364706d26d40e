"""The model left to right: what each module made of each token, a block or a head opened."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.studio.answers.attention import attention
from whence.studio.answers.names import in_order, under
from whence.studio.answers.tiles import ribbon
from whence.studio.answers.traces import Asked
from whence.why import Numbers, Trace
from whence.why.recording.storage import Ref

TOKENS, WIDE, LIKELIEST, INSIDE = 64, 48, 3, 24
COLOURS = ("q", "k", "v")
COPIES = ("to_copy", "clone", "copy", "detach")


def flow(
    folder: Path,
    *,
    run: str,
    step: int | None = None,
    text: str = "",
    example: int = 0,
    open: str = "",
    head: int = 0,
) -> dict[str, Any]:
    """Show what each module of a model made of each token of an example.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: from 0 to the last one done; none: that.
        text: instead of the step's batch, let the model of that step read this text.
        example: which example of the batch.
        open: a module to look into, such as `blocks.0`.
        head: which attention head, where there is one inside.
    """
    asked = Asked(folder, run, step, text)
    with asked.opened() as t:
        examples = sum(part.layouts.examples for part in t.labels.parts) or 1
        if not 0 <= example < examples:
            raise WhenceError(f"example is {example}: the step has 0 to {examples - 1}.")
        stages = _stages(t)
        paths = [name.partition("#")[0] for name in stages]
        opens = [path for path in paths if _has_inside(t, path)]
        inside = _inside(t, open, example) if open else []
        if open and not inside:
            raise WhenceError(
                f"{open!r} has nothing inside that has a row for each token"
                + (f": open {' or '.join(opens)}." if opens else ".")
            )
        return {
            **asked.head(),
            "example": example,
            "examples": examples,
            "stages": [
                {
                    "name": name,
                    "opens": path in opens,
                    "module": _kind(t, path),
                    "tile": _cut(t, t[name], example),
                }
                for name, path in zip(stages, paths, strict=True)
            ],
            "predictions": _predictions(t, example),
            "open": open,
            "inside": inside,
            "attention": attention(t, open, example, head) if open else [],
            "loss": t.loss.value,
            "notes": t.notes,
            "python": asked.python(f"[{stages[-1]!r}].value" if stages else ""),
            "shell": asked.shell(open, "--list"),
        }


def _cut(t: Trace, numbers: Numbers, example: int) -> dict[str, Any] | None:
    cut = ribbon(t, numbers, example, TOKENS)
    if cut is not None:
        cut["values"] = cut["values"][:, :WIDE]
        cut["column_labels"] = cut["column_labels"] and cut["column_labels"][:WIDE]
    return cut


def _stages(t: Trace) -> list[str]:
    """The outermost modules that returned a tensor with a row for each token, in order."""
    made = in_order(t)
    names = [n for n in made if n.partition("#")[0] in t.live.modules]
    outer = [n for n in names if not any(under(n, m) for m in names)]
    outer = outer or [n for n in made if n.partition("#")[0] == "logits"]
    seen: set[int] = set()
    stages = []
    for name in outer:
        ref = t[name].ref
        key = id(ref.version) if isinstance(ref, Ref) else id(ref)
        if key not in seen and len(ref.size) >= 3:
            stages.append(name)
            seen.add(key)
    return stages


def _has_inside(t: Trace, path: str) -> bool:
    return bool(_inside(t, path, 0))


def _kind(t: Trace, path: str) -> str:
    module = t.live.modules.get(path)
    return "" if module is None else type(module).__name__


def _inside(t: Trace, path: str, example: int) -> list[dict[str, Any]]:
    """What was made inside of a module, a row for each token, in order."""
    rows: list[dict[str, Any]] = []
    seen: set[int] = set()
    steps: dict[str, list[str]] = {}
    for name in in_order(t):
        if not under(name, path):
            continue
        numbers = t[name]
        key = id(numbers.ref.version) if isinstance(numbers.ref, Ref) else id(numbers.ref)
        best = t.name_of(numbers.ref)
        if key in seen or not under(best, path) or _is_step(t, best):
            continue
        if best in t:
            name, numbers = best, t[best]
        cut = _cut(t, numbers, example)
        if cut is None:
            if len(numbers.shape) == 2:
                steps.setdefault(name.partition("#")[0], []).append(name)
            continue
        seen.add(key)
        rows.append({"name": name, "role": _role(name), "tile": cut})
    rows += [r for base, names in steps.items() if (r := _over_time(t, base, names, example))]
    return rows[:INSIDE]


def _is_step(t: Trace, name: str) -> bool:
    """Whether a name is of a copy, or of a step inside of a norm, which its own view shows."""
    module, _, last = name.partition("#")[0].rpartition(".")
    if last in COPIES:
        return True
    parts = module.split(".")
    above = (".".join(parts[:i]) for i in range(1, len(parts) + 1))
    return any("Norm" in _kind(t, path) or "Dropout" in _kind(t, path) for path in above)


def _over_time(t: Trace, base: str, names: list[str], example: int) -> dict[str, Any] | None:
    """What a recurrent module made anew for each token: one row for each."""
    ids = t.labels.ids_of(t[names[0]].ref)
    if ids is None or len(names) != ids.shape[1]:
        return None
    columns = t[names[0]].shape[1]
    at = example * columns + np.arange(min(columns, WIDE))
    values = np.stack([t[name].ref.gather(at) for name in names[:TOKENS]])
    decode = t.labels.decode
    tokens = ids[min(example, len(ids) - 1), : len(values)]
    cut = {
        "name": base,
        "names": names[:TOKENS],
        "opens": True,
        "shape": list(t[names[0]].shape),
        "dtype": str(t[names[0]].ref.dtype).removeprefix("torch."),
        "leads": 1,
        "lead": 0,
        "index": [],
        "rows": len(names),
        "columns": columns,
        "first": example * columns,
        "top": 0,
        "left": 0,
        "values": values.astype(np.float32),
        "row_labels": decode and [decode(int(token)) for token in tokens],
        "column_labels": None,
    }
    return {"name": base, "role": "", "tile": cut}


def _role(name: str) -> str:
    """Whether it is a query, a key or a value, by its last word."""
    words = name.partition("#")[0].removesuffix(".local").removesuffix("_norm").split(".")
    return words[-1] if words[-1] in COLOURS else ""


def _predictions(t: Trace, example: int) -> list[dict[str, Any]]:
    """For each token the likeliest next ones, the target, and −ln P(target)."""
    name = next((n for n in reversed(in_order(t)) if n.partition("#")[0] == "logits"), None)
    if name is None or len(t[name].shape) != 3 or t.labels.decode is None:
        return []
    logits = t[name].ref.tensor()
    tokens = t.labels.ids_of(t[name].ref)
    rows = []
    for position, p in enumerate(
        logits[min(example, len(logits) - 1), :TOKENS].float().softmax(-1)
    ):
        best = p.topk(min(LIKELIEST, len(p)))
        target = None
        if tokens is not None and position + 1 < tokens.shape[1]:
            target = int(tokens[min(example, len(tokens) - 1), position + 1])
        rows.append(
            {
                "tokens": [t.labels.decode(i) for i in best.indices.tolist()],
                "p": best.values.tolist(),
                "target": None if target is None else t.labels.decode(target),
                "p_target": None if target is None else p[target].item(),
            }
        )
    return rows
