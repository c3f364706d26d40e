"""Attention opened, head by head: query times key, scale and mask, softmax, weighted values."""

from typing import Any

import numpy as np

from whence.studio.answers.inside.cell import name_in
from whence.studio.answers.inside.names import in_order, under
from whence.studio.answers.inside.tiles import ribbon, tile
from whence.why import Address, Number, Numbers, Trace
from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Ref
from whence.why.rules.open import open_element

SIDE = 64
HOPS = 6  # from the scores back to the product of q and k


def attention(t: Trace, path: str, example: int, head: int) -> list[dict[str, Any]]:
    """Every attention inside of a module, one head of it."""
    heads: list[dict[str, Any]] = []
    for name in in_order(t):
        weights = t[name]
        if not (under(name, path) and name.partition("#")[0].endswith(".weights")):
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
    batch = 1 if part is None else part.layouts.examples
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
    for name in in_order(t):
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
    """The tile from the top left of the matrix that contains a number."""
    size = int(np.prod(number.ref.size[-2:]))
    name = name_in(number.address)
    return tile(t, Numbers(t, number.ref, name), number.at // size, most=SIDE)
