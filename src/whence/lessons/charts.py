"""Curves and bars."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from whence.lessons.svg import (
    WIDTH,
    Picture,
    document,
    figure,
    group,
    label,
    legend,
    slug,
    sparkline,
    ticks,
)
from whence.lessons.talk import in_print

Points = Sequence[tuple[float, float]]
LEFT, RIGHT, PLOT = 70, WIDTH - 24, 250


def curves(
    title: str,
    lines: Mapping[str, Points],
    x: str,
    y: str,
    *,
    points: Mapping[str, Points] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    top: float | None = None,
) -> Picture:
    r"""Draw lines and points over two axes.

    Args:
        title: what is seen.
        lines: (x, y) pairs of each line, by its label; its block is the label's slug.
        x: what runs along the lower edge.
        y: what runs up the left edge.
        points: (x, y) pairs that are drawn as dots, by their label.
        log_x: whether each step to the right is a factor.
        log_y: whether each step up is a factor.
        top: the largest y that is shown; what lies above leaves the picture.

    Example:
        >>> picture = curves("fall", {"loss": [(0, 4.0), (1, 2.0), (2, 1.0)]}, "step", "loss")
        >>> picture.text
        'fall\n  loss  █▃▁  4 → 1'
    """
    dots = dict(points or {})
    shown = {
        name: [(a, b) for a, b in pairs if _shows(a, log_x) and _shows(b, log_y)]
        for name, pairs in {**lines, **dots}.items()
    }
    every = [pair for pairs in shown.values() for pair in pairs]
    names = list(shown)
    high = [b for _, b in every if top is None or b <= top]
    axes = axes_of(
        {name: "points" if name in dots else "line" for name in names},
        ([a for a, _ in every], x, log_x),
        (high, y, log_y),
    )
    across, up, parts = axes.across, axes.up, axes.parts
    for i, (name, pairs) in enumerate(shown.items()):
        spots = [(across(a), up(b)) for a, b in pairs if top is None or b <= top]
        if name in dots:
            drawn = [f'<circle class="fill" cx="{a:.1f}" cy="{b:.1f}" r="4.5"/>' for a, b in spots]
        else:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
            drawn = [f'<polyline class="curve" points="{path}"/>']
        parts.append(group(slug(name), drawn, i, name))
    told = [f"  {name}  {_told(pairs, name in dots)}" for name, pairs in shown.items()]
    return Picture(
        document(title, axes.height, parts, f"{y} by {x}: {', '.join(names)}"),
        "\n".join([title, *told]),
        ("line", x, y),
        [(name, a, b) for name, pairs in shown.items() for a, b in pairs],
        tuple(map(slug, names)),
    )


@dataclass(frozen=True)
class Axes:
    """Two axes with their marks, and where a number lies on each.

    Attributes:
        across: from an x to its place.
        up: from a y to its place.
        parts: the legend and the axes, to be drawn first.
        height: of the picture.
    """

    across: Callable[[float], float]
    up: Callable[[float], float]
    parts: list[str]
    height: float


def axes_of(
    kinds: Mapping[str, str],
    x: tuple[Sequence[float], str, bool],
    y: tuple[Sequence[float], str, bool],
) -> Axes:
    """Draw two axes.

    Args:
        kinds: what each label of the legend stands for, `line` or `points`.
        x: the numbers that lie along the lower edge, what they are, whether a step is a factor.
        y: the same of the left edge.
    """
    across, x_marks = _scale(x[0], x[2], LEFT, RIGHT)
    keys, end = legend(list(kinds), 52, list(kinds.values()))
    lower, upper = end + 36 + PLOT, end + 36
    up, y_marks = _scale(y[0], y[2], lower, upper)
    parts = [*keys, label(20, upper - 12, f"{y[1]} ↑", "dim")]
    for mark in y_marks:
        parts.append(f'<path class="rule" d="M{LEFT},{up(mark):.1f}H{RIGHT}"/>')
        parts.append(label(LEFT - 8, up(mark) + 4, figure(mark), "dim", "end"))
    parts += [label(across(mark), lower + 18, figure(mark), "dim", "middle") for mark in x_marks]
    parts.append(label(RIGHT, lower + 38, f"{x[1]} →", "dim", "end"))
    return Axes(across, up, parts, lower + 50)


def _shows(v: float, log: bool) -> bool:
    return math.isfinite(v) and (v > 0 or not log)


def _told(pairs: Points, dots: bool) -> str:
    ys = [b for _, b in pairs]
    if not ys:
        return "(nothing to draw)"
    if dots:
        return "  ".join(f"({figure(a)}, {figure(b)})" for a, b in pairs[:8])
    return f"{sparkline(ys)}  {figure(ys[0])} → {figure(ys[-1])}"


def _scale(
    values: Sequence[float], log: bool, start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """Return where a number lies between start and end, and the numbers to mark."""
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    if log:
        a, b = math.log10(low), math.log10(high)
        a, b = (a, b) if b - a > 1 else (math.floor(a), math.ceil(b + 1e-9))
        step = max(1, math.ceil((b - a) / 6))
        marks = [10.0**k for k in range(math.ceil(a), math.floor(b) + 1, step)]
    else:
        low, high = (low, high) if low < high else (low - 1, high + 1)
        a = 0.0 if 0 < low < 0.35 * high else low
        b = high
        if end < start:  # upwards: begin and end with a mark
            step = (ticks(a, b)[1:] or [b])[0] - ticks(a, b)[0] or 1.0
            a, b = math.floor(a / step + 1e-9) * step, math.ceil(b / step - 1e-9) * step
        marks = ticks(a, b, 6)

    def place(v: float) -> float:
        share = ((math.log10(v) if log else v) - a) / (b - a)
        return start + share * (end - start)

    return place, marks


def bars(
    title: str,
    values: Mapping[str, Mapping[str, float]] | Mapping[str, float],
    unit: str = "",
    *,
    highlight: str = "",
) -> Picture:
    """Draw numbers as bars, one row for each name; several series go below one another.

    Args:
        title: what is seen.
        values: a number for each name, or such a mapping for each series.
        unit: what the numbers are.
        highlight: the name whose bar has a colour of its own.

    Example:
        >>> print(bars("P", {"we": 0.5, "hello": 0.25}))
        P
          we     ████████████████████████ 0.5
          hello  ████████████ 0.25
    """
    series: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            series[name] = dict(value)
        else:
            series.setdefault("", {})[name] = value
    names = list(dict.fromkeys(n for row in series.values() for n in row))
    every = [v for row in series.values() for v in row.values() if math.isfinite(v)]
    most = max(map(abs, every), default=1.0) or 1.0
    negative = any(v < 0 for v in every)
    wide = min(230.0, 34 + 7.4 * max(map(len, names)))
    room = WIDTH - wide - 150
    zero = wide + (room / 2 if negative else 0) + (72 if negative else 0)
    reach = room / 2 if negative else room
    several = len(series) > 1
    parts, y = legend(list(series), 52, ["line"] * len(series)) if several else ([], 34.0)
    y += 14
    thick = 14 if several else 18
    for name in names:
        height = len(series) * (thick + 2)
        drawn = [label(wide - 10, y + height / 2 + 4, name, "", "end")]
        for k, (title_of, row) in enumerate(series.items()):
            if name not in row:
                continue
            v, top = row[name], y + k * (thick + 2)
            length = max(1.0, abs(v) / most * reach) if math.isfinite(v) else reach
            start = zero - length if v < 0 else zero
            colour = k if several else 4 if v < 0 else int(name == highlight)
            mark = f'<rect class="fill" x="{start:.1f}" y="{top:.1f}" width="{length:.1f}" '
            mark += f'height="{thick}" rx="2"/>'
            text = figure(v)
            at = (start - 6, "end") if v < 0 else (zero + length + 6, "start")
            drawn.append(
                group(
                    slug(f"{title_of} {name}") if several else slug(name),
                    [mark, label(at[0], top + thick - 3, text, "", at[1])],
                    colour,
                    f"{title_of} {name}: {in_print(repr(v))}".strip(),
                )
            )
        parts.append(group(slug(name), drawn))
        y += height + 8
    parts.append(f'<path class="rule" d="M{zero:.1f},{(66 if several else 42):.1f}V{y - 4:.1f}"/>')
    if unit:
        parts.append(label(WIDTH - 20, y + 10, unit, "dim", "end"))
        y += 14
    told = []
    longest = max(map(len, names))
    for title_of, row in series.items():
        told += [f"  {title_of}"] if title_of else []
        for name, v in row.items():
            blocks = "█" * round(24 * abs(v) / most) if math.isfinite(v) else "∞"
            told.append(f"  {name:<{longest}}  {'−' if v < 0 else ''}{blocks} {figure(v)}")
    return Picture(
        document(title, y + 8, parts, ", ".join(names)),
        "\n".join([title, *told]),
        ("series", "name", unit or "value"),
        [(s, name, v) for s, row in series.items() for name, v in row.items()],
        _blocks(list(series), names),
    )


def _blocks(series: list[str], names: list[str]) -> tuple[str, ...]:
    if len(series) == 1:
        return tuple(map(slug, names))
    each = [slug(f"{one} {name}") for one in series for name in names]
    return (*map(slug, series), *map(slug, names), *each)
