"""A drawing of a graph of `Value`s as SVG, made without any other program.

Numbers are boxes in columns: a number is to the right of everything that it was made from.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.scalar.graph import topological
from whence.scalar.ops import POW
from whence.visible import escape

if TYPE_CHECKING:
    from whence.scalar.value import Value

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 132, 46, 44, 12
_LONGEST = 18  # characters that fit in a box
_SYMBOLS = {"*": "·", "**": "^", "-": "−"}

_STYLE = """
.whence-node rect { fill: #f6f8fa; stroke: #57606a; }
.whence-node.leaf rect { fill: #ddf4ff; stroke: #0969da; }
.whence-node.root rect { fill: #fff8c5; stroke: #9a6700; }
.whence-graph text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.whence-graph .grad { fill: #57606a; }
.whence-graph path { fill: none; stroke: #8c959f; }
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """An SVG picture: `str()` is its text, `save()` writes it, notebooks show it.

    Attributes:
        svg: the picture.
        left_out: how many numbers of the graph it doesn't show.
    """

    svg: str
    left_out: int

    def __str__(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture to a file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def _nearest(root: Value, limit: int) -> list[Value]:
    """Return the numbers nearest to the root, at most `limit`, breadth first."""
    seen = {id(root)}
    near: list[Value] = []
    queue = deque([root])
    while queue and len(near) < limit:
        v = queue.popleft()
        near.append(v)
        for source in v.inputs:
            if id(source) not in seen:
                seen.add(id(source))
                queue.append(source)
    return near


def _count(root: Value) -> int:
    order = topological(root)
    leaves = {id(s) for v in order for s in v.inputs if s.op is None}
    return max(1, len(order) + len(leaves))


def _columns(near: list[Value]) -> list[list[Value]]:
    """Return the numbers in columns, inputs to the left, sorted so that few lines cross."""
    shown = {id(v) for v in near}
    made = [v for v in topological(near[0]) if id(v) in shown]
    depth: dict[int, int] = {id(v): 0 for v in near}
    for v in made:
        sources = [depth[id(s)] for s in v.inputs if id(s) in shown]
        depth[id(v)] = 1 + max(sources) if sources else 0
    users: dict[int, list[Value]] = {id(v): [] for v in near}
    for v in made:
        for source in {id(s) for s in v.inputs} & shown:
            users[source].append(v)
    # A leaf stands just left of the first number that uses it.
    for v in near:
        if v.op is None and users[id(v)]:
            depth[id(v)] = max(0, min(depth[id(u)] for u in users[id(v)]) - 1)
    columns: list[list[Value]] = [[] for _ in range(1 + max(depth.values()))]
    for v in near:
        columns[depth[id(v)]].append(v)
    # From the root leftwards: a number stands level with the mean of those that use it.
    place: dict[int, float] = {}
    for column in reversed(columns):
        for i, v in enumerate(column):
            used = [place[id(u)] for u in users[id(v)] if id(u) in place]
            place[id(v)] = sum(used) / len(used) if used else float(i)
        column.sort(key=lambda v: place[id(v)])
        for i, v in enumerate(column):
            place[id(v)] = i - (len(column) - 1) / 2
    return columns


def draw(root: Value, limit: int = 200) -> Drawing:
    """Return the graph that made `root`, at most `limit` numbers of it.

    Example:
        >>> from whence.scalar import Value
        >>> x = Value(3.0, label="x")
        >>> "x = 3" in draw(x * x).svg
        True
    """
    near = _nearest(root, max(1, limit))
    left_out = _count(root) - len(near)
    columns = _columns(near)
    tallest = max(len(column) for column in columns)
    height = tallest * (_HEIGHT + _GAP_Y) + _GAP_Y + (20 if left_out else 0)
    width = len(columns) * (_WIDTH + _GAP_X) + _GAP_X // 2
    spot: dict[int, tuple[float, float]] = {}
    for i, column in enumerate(columns):
        top = (tallest - len(column)) * (_HEIGHT + _GAP_Y) / 2 + _GAP_Y
        for j, v in enumerate(column):
            spot[id(v)] = (i * (_WIDTH + _GAP_X) + _GAP_X / 2, top + j * (_HEIGHT + _GAP_Y))
    parts = [_edge(spot[id(s)], spot[id(v)]) for v in near for s in v.inputs if id(s) in spot]
    figures = _exponents(near)
    parts += [_box(v, *spot[id(v)], is_root=v is root, is_figure=id(v) in figures) for v in near]
    if left_out:
        parts.append(
            f'<text x="{_GAP_X // 2}" y="{height - 8}">{left_out} more numbers not drawn</text>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="whence-graph" role="img" '
        f'aria-label="graph of {len(near)} numbers" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{_STYLE}</style>{"".join(parts)}</svg>'
    )
    return Drawing(svg, left_out)


def _exponents(near: list[Value]) -> set[int]:
    """The plain powers, as in x²: nobody learns them, and a slope there may be NaN."""
    powers = [v.inputs[1] for v in near if v.op is POW]
    return {id(p) for p in powers if p.op is None and p.label is None}


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
    x2, y2 = end[0], end[1] + _HEIGHT / 2
    middle = (x1 + x2) / 2
    return f'<path d="M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}"/>'


def _box(v: Value, x: float, y: float, *, is_root: bool, is_figure: bool) -> str:
    kind = " root" if is_root else " leaf" if v.op is None else ""
    made = _SYMBOLS.get(v.op.name, v.op.name) if v.op else ""
    title = v.label or made
    head = _fitted(f"{title} = " if title else "", f"{v.data:.6g}")
    below = "" if is_figure else f"grad {v.grad:.6g}"
    if v.label and v.op:
        below = f"{made}   {below}"
    return (
        f'<g class="whence-node{kind}"><title>{escape(repr(v))}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text x="{x + 8:g}" y="{y + 19:g}">{escape(head)}</text>'
        f'<text class="grad" x="{x + 8:g}" y="{y + 37:g}">{escape(below)}</text></g>'
    )


def _fitted(title: str, number: str) -> str:
    """Shorten a title so that it and its number stay inside the box."""
    room = _LONGEST - len(number)
    return (title if len(title) <= room else f"{title[: room - 4]}… = ") + number
