"""Boxes with arrows between them: how numbers flow."""

from collections.abc import Sequence
from dataclasses import dataclass

from whence.lessons.svg import WIDTH, Picture, document, group, label, slug
from whence.lessons.talk import in_print


@dataclass(frozen=True)
class Box:
    """A box of a flow.

    Attributes:
        name: its head, by which arrows find it; its slug is the name of its block.
        value: the number in it, written out.
        below: a smaller line, such as a gradient.
        colour: which colour, from 0.

    Example:
        >>> Box("loss", "49", "slope 1").value
        '49'
    """

    name: str
    value: str = ""
    below: str = ""
    colour: int = 0


def flow(
    title: str, columns: Sequence[Sequence[Box]], arrows: Sequence[tuple[str, str, str]]
) -> Picture:
    """Draw boxes in columns, left to right, with arrows between them.

    Args:
        title: what is seen.
        columns: the boxes of each column, from above.
        arrows: (from, to, the arrow's text), by the boxes' names.

    Example:
        >>> print(flow("f", [[Box("x", "2")], [Box("y", "4")]], [("x", "y", "· 2")]))
        f
          x = 2
          y = 4   from x (· 2)
    """
    every = [box for column in columns for box in column]
    least = 26.0 + 6.6 * max((len(text) for _, _, text in arrows), default=0)
    wide = min(
        max(112.0, *(_width(box) for box in every)),
        (WIDTH - 40 - least * (len(columns) - 1)) / len(columns),
    )
    gap = min(110.0, (WIDTH - 40 - wide * len(columns)) / max(1, len(columns) - 1))
    left = (WIDTH - wide * len(columns) - gap * (len(columns) - 1)) / 2
    tall, apart = 68.0, 22.0
    tallest = max(map(len, columns))
    height = tallest * (tall + apart)
    spots: dict[str, tuple[float, float]] = {}
    boxes = []
    for i, column in enumerate(columns):
        x = left + i * (wide + gap)
        y = 50 + (height - len(column) * (tall + apart)) / 2 + apart / 2
        for box in column:
            spots[box.name] = (x, y)
            boxes.append(_draw(box, x, y, wide, tall))
            y += tall + apart
    lines = [_arrow(spots[a], spots[b], text, wide, tall) for a, b, text in arrows]
    told = []
    for box in every:
        sources = [f"{a} ({text})" if text else a for a, b, text in arrows if b == box.name]
        line = f"  {box.name}" + (f" = {box.value}" if box.value else "")
        line += f"   {box.below}" if box.below else ""
        told.append(line + (f"   from {', '.join(sources)}" if sources else ""))
    return Picture(
        document(title, 62 + height, [*lines, *boxes], ", ".join(box.name for box in every)),
        "\n".join([title, *told]),
        ("box", "value", "below"),
        [(box.name, box.value, box.below) for box in every],
        tuple(slug(box.name) for box in every),
    )


def _width(box: Box) -> float:
    return 18 + max(7.2 * len(box.name), 7.2 * len(box.below), 8.8 * len(box.value))


def _draw(box: Box, x: float, y: float, wide: float, tall: float) -> str:
    middle = x + wide / 2
    frame = f'<rect class="box outline" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
    frame += f'height="{tall:.1f}" rx="8"/>'
    lines = [label(middle, y + 21, box.name, "ink", "middle")]
    if box.value:
        length, room = len(box.value), wide - 8
        kind = "title" if 8.8 * length <= room else "" if 7.2 * length <= room else "small"
        lines.append(label(middle, y + 40, in_print(box.value), kind, "middle"))
    if box.below:
        lines.append(label(middle, y + 58, in_print(box.below), "dim", "middle"))
    tip = " ".join(filter(None, (box.name, box.value, box.below)))
    return group(slug(box.name), [frame, *lines], box.colour, tip)


def _arrow(
    start: tuple[float, float], end: tuple[float, float], text: str, wide: float, tall: float
) -> str:
    x1, y1 = start[0] + wide, start[1] + tall / 2
    x2, y2 = end[0], end[1] + tall / 2
    m = (x1 + x2) / 2
    curve = f'<path class="edge" d="M{x1:.1f},{y1:.1f} C{m:.1f},{y1:.1f} {m:.1f},{y2:.1f} '
    curve += f'{x2 - 7:.1f},{y2:.1f}"/>'
    tip = f'<path class="tip" d="M{x2:.1f},{y2:.1f}l-9,-5v10z"/>'
    word = ""
    if text:
        share = 0.5 if y1 == y2 else 0.3
        word = label(
            m, y1 + share * (y2 - y1) - (8 if y1 == y2 else -4), text, "dim halo", "middle"
        )
    return curve + tip + word
