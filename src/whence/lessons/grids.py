"""A table of numbers as coloured cells."""

import math
from collections.abc import Sequence

from whence.lessons.svg import WIDTH, Picture, document, figure, group, label, slug
from whence.lessons.talk import in_print


def grid(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    across: str = "",
    down: str = "",
    colour: int = 0,
    digits: int = 2,
) -> Picture:
    """Draw a table of numbers; the larger a number, the fuller its colour.

    Args:
        title: what is seen.
        rows: the names down the left edge.
        columns: the names along the top.
        values: the numbers, row by row; None leaves a cell empty.
        across: what the columns are.
        down: what the rows are.
        colour: which colour, from 0; negative numbers take red.
        digits: after the point.

    Example:
        >>> print(grid("counts", ["a"], ["b", "c"], [[1, 0]], digits=0))
        counts
             b  c
          a  1  0
    """
    known = [v for row in values for v in row if v is not None and math.isfinite(v)]
    most = max(map(abs, known), default=1.0) or 1.0
    left = min(190.0, 30 + 7.4 * max(map(len, rows)) + (20 if down else 0))
    wide = min(86.0, (WIDTH - left - 24) / max(1, len(columns)))
    tall = min(40.0, max(22.0, wide * 0.6))
    turned = any(7.4 * len(name) > wide + 2 for name in columns)
    head = 18 + (7 * max(map(len, columns)) * 0.75 if turned else 8)
    top = 44 + head + (18 if across else 0)
    parts = [label(left, 50, across, "dim")] if across else []
    if down:
        spot = f"translate(18,{top + tall * len(rows) / 2:.1f}) rotate(-90)"
        parts.append(f'<text class="dim" text-anchor="middle" transform="{spot}">{down}</text>')
    for j, name in enumerate(columns):
        x = left + (j + 0.5) * wide
        if turned:
            spot = f"translate({x + 4:.1f},{top - 6:.1f}) rotate(-45)"
            parts.append(f'<text transform="{spot}">{_safe(name)}</text>')
        else:
            parts.append(label(x, top - 8, name, "", "middle"))
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + i * tall
        drawn = [label(left - 10, y + tall / 2 + 4, name, "", "end")]
        for j, v in enumerate(row):
            x = left + j * wide
            place = (
                f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{wide - 2:.1f}" height="{tall - 2:.1f}"'
            )
            cell = [f'<rect class="box" {place} rx="3"/>']
            if v is not None:
                share = abs(v) / most if math.isfinite(v) else 1.0
                cell.append(
                    f'<rect class="fill" {place} rx="3" fill-opacity="{0.62 * share:.3f}"/>'
                )
                text = f"{v:.{digits}f}".replace("-", "−") if math.isfinite(v) else figure(v)
                if wide >= 7.4 * len(text) + 2:
                    cell.append(label(x + wide / 2, y + tall / 2 + 4, text, "", "middle"))
            drawn.append(
                group(
                    f"{slug(name)}-{slug(columns[j])}",
                    cell,
                    4 if (v or 0) < 0 else colour,
                    f"{name}, {columns[j]}: {in_print(repr(v))}",
                )
            )
        parts.append(group(slug(name), drawn))
    return Picture(
        document(title, top + tall * len(rows) + 18, parts, f"{down or 'rows'}: {', '.join(rows)}"),
        _text(title, rows, columns, values, digits),
        ("", *columns),
        [(name, *row) for name, row in zip(rows, values, strict=True)],
        (*map(slug, rows), *(f"{slug(r)}-{slug(c)}" for r in rows for c in columns)),
    )


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    digits: int,
) -> str:
    cells = [["" if v is None else f"{v:.{digits}f}" for v in row] for row in values]
    first = max(map(len, rows))
    widths = [max(len(c), *(len(r[j]) for r in cells)) for j, c in enumerate(columns)]

    def line(name: str, row: Sequence[str]) -> str:
        told = "".join(f"  {v:>{w}}" for v, w in zip(row, widths, strict=True))
        return f"  {name:<{first}}{told}"

    return "\n".join([title, line("", columns), *map(line, rows, cells)])
