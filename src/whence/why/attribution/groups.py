"""Attribution: a number's terms grouped by token, position, example, head or module.

A gradient or an update is opened down to where its terms run over the batch; a logit is opened
along the residual stream down to the modules that wrote to it. What is grouped adds up exactly to
the number; the rounding of the operations on the way is a row of its own. The terms are what the
sum is made of: a token "accounts for" its share, and no more is claimed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import WhenceError
from whence.receipt.figures import READ, finite, percent, short
from whence.receipt.text import bar
from whence.why.attribution.boundary import PLACES, Boundary
from whence.why.attribution.paths import paths, paths_within
from whence.why.receipts.followed import Node
from whence.why.receipts.layout.labels import Place
from whence.why.receipts.ranking import ranked, shares
from whence.why.receipts.unroll import Unrolled, normal, unroll
from whence.why.receipts.update import Update
from whence.why.receipts.whole import Whole
from whence.why.rules.opening import Cells

if TYPE_CHECKING:
    from whence.why.number import Number
    from whence.why.trace import Trace

SPOILED = "(finite, but multiplied by a number that isn't)"
# What a grouping means, of every number and on every kind of model.
_PLACED = "; a term without one is put under what made it"
MEANING = {
    "token": f"a term counts for the token at its position{_PLACED}",
    "position": f"a term counts for its position in the window{_PLACED}",
    "example": f"a term counts for its example{_PLACED}",
    "where": f"a term counts for where in the training text its token is{_PLACED}",
    "head": "a term counts for the attention head that made it; else for the module that did",
    "module": "a term counts for the module that made it, or that sent the gradient back",
    "path": "a term counts for the modules by which the gradient came back from the loss",
}
WAYS = tuple(MEANING)


@dataclass(frozen=True, slots=True)
class Share:
    """What one group accounts for.

    Attributes:
        label: the token, position, example, head or module.
        value: Σ of its terms, in the unit of the number.
        share: |value| / Σ|value| over all groups; those that aren't finite share the whole.
        terms: how many terms there are in it.

    Example:
        >>> Share("'cat' at position 2", value=-0.5, share=0.25, terms=8).share
        0.25
    """

    label: str
    value: float
    share: float
    terms: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """A number by groups: value = Σ shares + rounding.

    Attributes:
        address: the number's.
        by: what it is grouped by.
        value: the number as stored.
        shares: the groups, the largest first.
        rounding: value − Σ shares: what the operations on the way rounded.
        bound: how large that can be by rounding alone.
        notes: what a reader must know.

    Example:
        >>> one = Share("'cat' at position 2", value=0.5, share=1.0, terms=8)
        >>> Attribution("loss", "token", 0.5, (one,), rounding=0.0, bound=1e-7).shares[0].label
        "'cat' at position 2"
    """

    address: str
    by: str
    value: float
    shares: tuple[Share, ...]
    rounding: float
    bound: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite({"schema": 1, **asdict(self)})

    def lines(self, top: int | None = 12, digits: int = READ) -> list[str]:
        """Return it line by line, at most `top` groups, with so many significant digits."""
        shown = self.shares if top is None else self.shares[:top]
        width = max((len(short(s.value, digits)) for s in shown), default=0)
        largest = max((s.share for s in shown), default=1.0)
        lines = [f"{self.address} = {short(self.value, digits)}, by {self.by}"]
        lines += [
            f"    {short(s.value, digits):>{width}}  {bar(s.share, largest)} "
            f"{percent(s.share):>6}  {s.label}" + (f"  ({s.terms:,} terms)" if s.terms > 1 else "")
            for s in shown
        ]
        rest = self.shares[len(shown) :]
        if rest:
            value = short(sum(s.value for s in rest), digits)
            lines.append(f"    {value:>{width}}  in {len(rest)} more")
        if math.isfinite(self.value):
            lines.append(f"  rounding {self.rounding:.3g} (at most {self.bound:.3g})")
        lines += [f"  {note}" for note in self.notes]
        return [*lines, f"  by {self.by}: {MEANING[self.by]}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def attribution(number: Number, by: str, seconds: float | None = None) -> Attribution:
    """Group what a number is made of.

    Args:
        number: a gradient, an update, a loss, a logit or another activation.
        by: "token", "position", "example", "where" (the label that `trace` was given for a place
            in the training text), "head", "module" or, for a gradient or an update, "path": the
            modules it came back through from the loss.
        seconds: how long paths are followed; `None`: all of them, which may take minutes.

    Raises:
        WhenceError: there is no such grouping.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> table, tokens = torch.nn.Embedding(5, 2), torch.tensor([[1, 3, 1]])
        >>> def step():
        ...     table(tokens).sum().backward()
        >>> number = trace(step).number("weight[1,0].grad")
        >>> [(s.label, s.value) for s in number.attribution("position").shares]
        [('position 0', 1.0), ('position 2', 1.0)]
    """
    if by not in WAYS:
        raise WhenceError(f"A number cannot be grouped by {by!r}: choose {', '.join(WAYS)}.")
    trace = number.trace
    if by in ("position", "example") and (shape := trace.labels.undecided()):
        raise WhenceError(
            f"It isn't known which dimension of ids of shape {list(shape)} runs over examples: "
            "give trace() tokens=…, laid out [examples, positions]."
        )
    start = _start(number)
    if by == "path":
        if seconds is None:
            sums, ends = paths(start)
            return _blame(number, by, ends, sums)
        sums, ends, notes = paths_within(start, trace, seconds)
        found = _blame(number, by, ends, sums)
        return replace(found, notes=(*notes, *found.notes))
    first = {id(n.op) for cells, at, w in start for n in normal(cells, at, w)}
    stop = Boundary(trace, by, first, start[0][0])
    unrolled = unroll(start, lambda node: not stop(node), stop.at_place)
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    unrolled.leaves, spoiled = _told_apart(unrolled.leaves)
    for leaf in unrolled.leaves:
        _group(trace, by, leaf, groups)
    if spoiled:
        groups[SPOILED] = spoiled
    if by == "where":
        groups = _with_text(trace, unrolled.leaves, groups)
    for words, value in unrolled.constants:
        label = SPOILED if spoiled and not math.isfinite(value) else f"constant {words}"
        groups.setdefault(label, []).append(np.array([value]))
    return _blame(number, by, unrolled, groups)


def _start(number: Number) -> list[tuple[Cells, np.ndarray, np.ndarray]]:
    at = np.array([number.at])
    if isinstance(number.ref, Update | Whole):
        return list(number.ref.start(at))
    return [(number.ref, at, np.ones(1))]


def _told_apart(leaves: list[Node]) -> tuple[list[Node], list[np.ndarray]]:
    """Set aside terms that are NaN or ±∞ only through their weight, if others are so by themselves.

    A shared denominator that isn't finite would else put the blame on everything alike.
    """
    finite = [np.isfinite(leaf.own) for leaf in leaves]
    if all(each.all() for each in finite):
        return leaves, []
    kept, spoiled = [], []
    for leaf, own in zip(leaves, finite, strict=True):
        terms = leaf.terms
        apart = own & ~np.isfinite(terms)
        given = None if leaf.given is None else leaf.given[~apart]
        spoiled += [terms[apart]] if apart.any() else []
        kept.append(Node(leaf.cells, leaf.at[~apart], leaf.weight[~apart], leaf.call, given))
    return kept, spoiled


def _group(trace: Trace, by: str, leaf: Node, groups: dict[str, list[np.ndarray]]) -> None:
    """Sort a leaf's terms into their groups."""
    terms = leaf.terms
    place = trace.labels.place(leaf.cells, leaf.at)
    placed = by in PLACES and getattr(place, PLACES[by]) is not None
    if leaf.op is None and not placed:  # what came in at a token or an example counts for it
        groups[_outside(trace, leaf)].append(terms)
        return
    if by == "module":
        groups[_module(leaf)].append(terms)
    elif by == "head":
        if place.head is None:
            groups[_module(leaf)].append(terms)
        else:
            for head in np.unique(place.head):
                groups[f"{_module(leaf)} head {head}"].append(terms[place.head == head])
    else:
        _group_by_place(trace, by, place, terms, groups, leaf)


def _group_by_place(
    trace: Trace,
    by: str,
    place: Place,
    terms: np.ndarray,
    groups: dict[str, list[np.ndarray]],
    leaf: Node,
) -> None:
    labels = trace.labels
    if by == "where":
        if labels.where is None:
            raise WhenceError(
                "It isn't known where in the training text the windows begin: give trace() where=…."
            )
        position = place.position
        if position is None and labels.by_example and place.example is not None:
            position = np.zeros_like(place.example)
        if place.example is None or position is None:
            groups[f"({_module(leaf)})"].append(terms)
            return
        pairs = zip(place.example.tolist(), position.tolist(), strict=True)
        words = np.array([labels.where(e, p) for e, p in pairs])
        for word in np.unique(words):
            groups[str(word)].append(terms[words == word])
        return
    keys = getattr(place, PLACES[by])
    if keys is None:
        groups[f"({_module(leaf)})"].append(terms)
        return
    for key in np.unique(keys):
        word = labels.text(int(key)) if by == "token" else f"{by} {key}"
        groups[word].append(terms[keys == key])


def _with_text(
    trace: Trace, leaves: list[Node], groups: dict[str, list[np.ndarray]]
) -> dict[str, list[np.ndarray]]:
    """Add to each group's label the text around the token of its largest term."""
    labels = trace.labels
    largest: dict[str, tuple[float, int, int, Any]] = {}
    for leaf in leaves:
        place = labels.place(leaf.cells, leaf.at)
        if leaf.op is None or labels.where is None:
            continue
        if place.example is None or place.position is None:
            continue
        for i, size in enumerate(np.abs(leaf.terms)):
            example, position = int(place.example[i]), int(place.position[i])
            word = labels.where(example, position)
            if word not in largest or size >= largest[word][0]:
                largest[word] = (size, example, position, place.stream)
    text = {word: labels.stands(e, p, stream) for word, (_, e, p, stream) in largest.items()}
    return {text.get(word, word): several for word, several in groups.items()}


def _outside(trace: Trace, leaf: Node) -> str:
    name = trace.name_of(leaf.cells)
    if name in trace.parameters:
        return f"{name} (old value)" if leaf.op is None else name
    return f"{name} (before this step)"


def _module(leaf: Node) -> str:
    op = leaf.op
    if op is None:
        return "before this step"
    module = op.forward.module if op.forward is not None else op.module
    return module or op.name


def _blame(
    number: Number, by: str, unrolled: Unrolled, groups: dict[str, list[np.ndarray]]
) -> Attribution:
    sums = {
        label: (sum(float(t.sum()) for t in several), sum(len(t) for t in several))
        for label, several in groups.items()
    }
    rows = [(label, v, n) for label, (v, n) in sums.items() if v]
    values = np.array([0.0 if label == SPOILED else v for label, v, _ in rows])
    share = shares(values)
    found = [Share(rows[i][0], rows[i][1], float(share[i]), rows[i][2]) for i in ranked(values)]
    notes, value = [], number.value
    bad = int((~np.isfinite(values)).sum())
    if bad:
        notes.append(f"{bad:,} of {len(rows):,} groups {'is' if bad == 1 else 'are'} not finite")
    if unrolled.shared:
        some = ", ".join(number.trace.address(c, i) for c, i in unrolled.shared[:4])
        notes.append(f"weighed by numbers that all groups share, such as {some}")
    apart = 0.0 if bad and not math.isfinite(value) else value - float(values.sum())
    return Attribution(
        number.address, by, value, tuple(found), apart, 0.0 if bad else unrolled.bound, tuple(notes)
    )
