"""The model left to right: what each module made of each token, a block or a head opened."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.studio.answers.cell import name_in
from whence.studio.answers.tiles import ribbon, tile
from whence.studio.answers.traces import Asked
from whence.why import Address, Number, Numbers, Trace
from whence.why.open import open_element
from whence.why.recomputed import Recomputed
from whence.why.storage import Ref

TOKENS, WIDE, SIDE, LIKELIEST, INSIDE = 64, 48, 64, 3, 24
COLOURS = ("q", "k", "v")
HOPS = 6  # from the scores back to the product of q and k
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
        examples = sum(part.batch for part in t.labels.parts) or 1
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
            "attention": _attention(t, open, example, head) if open else [],
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
    made = _made(t)
    names = [n for n in made if n.partition("#")[0] in t.live.modules]
    outer = [n for n in names if not any(_under(n, m) for m in names)]
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


def _made(t: Trace) -> list[str]:
    """The names of what the forward pass made, in order."""
    found = [
        (t[name].ref.ordinal, name)
        for name in t.names()
        if name not in t.parameters and _is_forward(t, name)
    ]
    return [name for _, name in sorted(found, key=lambda pair: pair[0])]


def _is_forward(t: Trace, name: str) -> bool:
    ref = t[name].ref
    if isinstance(ref, Recomputed):
        return not ref.carries and not name.endswith(".grad")
    if (
        not isinstance(ref, Ref)
        or ref.carries
        or ref.ordinal < 0
        or not ref.dtype.is_floating_point
    ):
        return False
    writer = ref.version.writer
    return writer is not None and writer.phase == "forward"


def _under(name: str, module: str) -> bool:
    return name.startswith(module.partition("#")[0] + ".")


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
    for name in _made(t):
        if not _under(name, path):
            continue
        numbers = t[name]
        key = id(numbers.ref.version) if isinstance(numbers.ref, Ref) else id(numbers.ref)
        best = t.name_of(numbers.ref)
        if key in seen or not _under(best, path) or _is_step(t, best):
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
    part = t.labels.part_of(t[names[0]].ref)
    if part is None or len(names) != part.layouts.length or part.tokens is None:
        return None
    columns = t[names[0]].shape[1]
    at = example * columns + np.arange(min(columns, WIDE))
    values = np.stack([t[name].ref.gather(at) for name in names[:TOKENS]])
    decode = t.labels.decode
    tokens = part.tokens[min(example, part.batch - 1), : len(values)]
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
    name = next((n for n in reversed(_made(t)) if n.partition("#")[0] == "logits"), None)
    if name is None or len(t[name].shape) != 3 or t.labels.decode is None:
        return []
    logits = t[name].ref.tensor()
    part = t.labels.part_of(t[name].ref)
    tokens = None if part is None else part.tokens
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


def _attention(t: Trace, path: str, example: int, head: int) -> list[dict[str, Any]]:
    """Every attention inside of a module, one head of it."""
    heads: list[dict[str, Any]] = []
    for name in _made(t):
        weights = t[name]
        if not (_under(name, path) and name.partition("#")[0].endswith(".weights")):
            continue
        if len(weights.shape) < 3:
            continue
        one = _head(t, name, example, head)
        last = heads[-1] if heads else None
        if last and "scores" in one and one["scores"]["name"] == last["weights"]["name"]:
            # the same weights after dropout
            heads[-1] = {**last, "dropped": one["weights"], **_only(one, ("mixed", "v"))}
        else:
            heads.append(one)
    return heads


def _only(one: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: one[key] for key in keys if key in one}


def _head(t: Trace, name: str, example: int, head: int) -> dict[str, Any]:
    """One head: q and k, scores, weights, v and the weighted values, each as a tile."""
    weights = t[name]
    part = t.labels.part_of(weights.ref)
    batch = 1 if part is None else part.batch
    leads = int(np.prod(weights.shape[:-2]))
    heads = max(1, leads // batch)
    head = max(0, min(head, heads - 1))
    lead = min(example, batch - 1) * heads + head
    size = weights.shape[-2] * weights.shape[-1]
    module = name.rpartition(".")[0]
    scores = _named(t, weights.ref, lead * size)
    cut: dict[str, Any] = {"weights": tile(t, weights, lead, most=SIDE)}
    scale = None
    if scores is not None:
        cut["scores"] = _tile_at(t, scores)
        scale = _products(t, scores, cut, ("q", "k"))
    mixed = _mixed(t, weights, lead * size)
    if mixed is not None:
        cut["mixed"] = _tile_at(t, mixed)
        _products(t, mixed, cut, (None, "v"))
    products = _recomputed(cut) if "q" in cut and "k" in cut else None
    if products is not None:
        cut["products"] = {**cut["weights"], "name": "q·kᵀ", "opens": False, "values": products}
    reads, read = _tokens(t, weights.shape[-2], example), _tokens(t, weights.shape[-1], example)
    for key, one in cut.items():
        side = read if key in ("k", "v") else reads
        one["row_labels"] = side if side and len(side) == len(one["values"]) else None
        if key in ("scores", "weights", "products"):
            one["column_labels"] = read
    return {"module": module, "heads": heads, "head": head, "scale": scale, **cut}


def _recomputed(cut: dict[str, Any]) -> np.ndarray | None:
    """The product of q and k before it was scaled, where both are there whole."""
    q, k = (cut[each]["values"].astype(np.float64) for each in ("q", "k"))
    if any(cut[each]["columns"] > SIDE for each in ("q", "k")):
        return None
    if k.shape[1] == q.shape[1]:
        k = k.T
    whole = k.shape[0] == q.shape[1] and (len(q), k.shape[1]) == cut["weights"]["values"].shape
    return (q @ k).astype(np.float32) if whole else None


def _tokens(t: Trace, length: int, example: int) -> list[str] | None:
    """The tokens of a side of attention, by how many there are."""
    for name in _made(t):
        cut = ribbon(t, t[name], example, SIDE) if t[name].shape[1:2] == (length,) else None
        if cut is not None:
            return cut["row_labels"]
    return None


def _named(t: Trace, cells: Any, at: int) -> Number | None:
    """The number that a softmax at this place read, in its own place."""
    opened, _ = open_element(cells, at)
    for part in opened.parts if opened is not None else []:
        for factor in (*part.shared, *part.factors):
            where = np.asarray(factor.at).reshape(-1)
            return _better(t, factor.cells, int(where[0]))
    return None


def _better(t: Trace, cells: Any, at: int) -> Number:
    """The same number in the tensor it is best known by."""
    address = t.address(cells, at)
    if name_in(address) in t and Address.parse(address).index is not None:
        return t.number(address)
    return Number(t, cells, at)


def _mixed(t: Trace, weights: Numbers, at: int) -> Number | None:
    """The first weighted value of the head."""
    if isinstance(weights.ref, Recomputed):
        output = weights.ref.call.output
        lead = at // (weights.shape[-2] * weights.shape[-1])
        return _better(t, output, lead * int(np.prod(output.size[-2:])))
    for op in t.ops:
        if op.phase == "forward" and op.name in ("bmm", "matmul", "mm", "baddbmm"):
            first = op.args[0]
            if isinstance(first, Ref) and isinstance(weights.ref, Ref):
                where = int(first.locate(weights.ref.places(np.array([at])))[0])
                out = op.outputs[0]
                if first.version is weights.ref.version and where >= 0 and out is not None:
                    lead = where // int(np.prod(first.size[-2:]))
                    return _better(t, out, lead * int(np.prod(out.size[-2:])))
    return None


def _products(t: Trace, number: Number, cut: dict[str, Any], roles: tuple) -> float | None:
    """Add the two matrices that were multiplied; return what the product was scaled by."""
    scale = 1.0
    for _ in range(HOPS):
        opened, _ = open_element(number.ref, number.at)
        if opened is None:
            return None
        for part in opened.parts:
            at = [np.asarray(factor.at).reshape(-1) for factor in part.factors]
            factor_scale = float(np.asarray(part.coefficient).reshape(-1)[0])
            if len(at) >= 2 and min(map(len, at)) > 1:
                for role, factor, where in zip(roles, part.factors, at, strict=False):
                    if role is not None:
                        cut[role] = _tile_at(t, _better(t, factor.cells, int(where[0])))
                return scale * factor_scale
        # a step between: the mask, the scale, a view
        first = next((p for p in opened.parts if p.factors), None)
        if first is None:
            return None
        for factor in first.factors[1:]:
            scale *= float(factor.values.reshape(-1)[0])
        scale *= float(np.asarray(first.coefficient).reshape(-1)[0])
        source = first.factors[0]
        number = Number(t, source.cells, int(np.asarray(source.at).reshape(-1)[0]))
    return None


def _tile_at(t: Trace, number: Number) -> dict[str, Any]:
    """The tile from the top left of the matrix that a number stands in."""
    size = int(np.prod(number.ref.size[-2:]))
    name = name_in(number.address)
    return tile(t, Numbers(t, number.ref, name), number.at // size, most=SIDE)
