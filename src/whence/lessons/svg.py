"""Pictures as SVG, drawn from computed numbers, in light and dark, with the same as text."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.visible import escape

WIDTH = 680
COLOURS = 6

# The colours are variables, so that a page may set its own theme: data-theme on any element
# around the picture wins over what the system prefers.
LIGHT = "--ink:#1f2328;--dim:#59636e;--line:#d1d9e0;--paper:#ffffff;--soft:#f6f8fa;" + (
    "--c1:#0969da;--c2:#bc4c00;--c3:#1a7f37;--c4:#8250df;--c5:#cf222e;--c6:#0f766e"
)
DARK = "--ink:#e6edf3;--dim:#9aa4af;--line:#3d444d;--paper:#0d1117;--soft:#161b22;" + (
    "--c1:#58a6ff;--c2:#f0883e;--c3:#3fb950;--c4:#bc8cff;--c5:#ff7b72;--c6:#2dd4bf"
)
STYLE = (
    f".whence-picture{{{LIGHT};max-width:100%;height:auto;font:13px system-ui,sans-serif}}"
    f"@media (prefers-color-scheme:dark){{.whence-picture{{{DARK}}}}}"
    f"[data-theme=light] .whence-picture{{{LIGHT}}}[data-theme=dark] .whence-picture{{{DARK}}}"
    ".whence-picture .paper{fill:var(--paper);stroke:var(--line)}"
    ".whence-picture text{fill:var(--ink)}.whence-picture .dim{fill:var(--dim)}"
    ".whence-picture .title{font-weight:600;font-size:15px}"
    ".whence-picture .small{font-size:10.5px}"
    ".whence-picture .rule{stroke:var(--line);fill:none}"
    ".whence-picture .halo{paint-order:stroke;stroke:var(--paper);stroke-width:5px}"
    ".whence-picture .box{fill:var(--soft);stroke:var(--line)}"
    ".whence-picture .ring{fill:none;stroke:var(--ink);stroke-width:2}"
    ".whence-picture .curve{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}"
    ".whence-picture .edge{fill:none;stroke:var(--dim);stroke-width:1.4}"
    ".whence-picture .tip{fill:var(--dim)}"
    ".whence-picture .fill{fill:var(--c)}.whence-picture .outline{stroke:var(--c);stroke-width:2}"
    ".whence-picture .ink{fill:var(--c)}.whence-picture .ball{stroke:var(--paper);stroke-width:2}"
    ".whence-picture .trail{fill:none;stroke:var(--c);stroke-width:1.6;stroke-dasharray:2 4}"
    ".whence-picture .tile{fill:var(--c);stroke:var(--paper);stroke-width:0.7}"
    ".whence-picture .pass{stroke:var(--c);stroke-opacity:0.55}"
    + "".join(f".whence-picture .c{i}{{--c:var(--c{i})}}" for i in range(1, COLOURS + 1))
)


@dataclass(frozen=True)
class Picture:
    """A picture: SVG for a notebook and a page, text for a terminal, a table behind both.

    Attributes:
        svg: the picture; the element of a block has its name as `data-block`.
        text: the same for a terminal.
        columns: the table's heads.
        rows: the numbers that were drawn.
        blocks: the names of the parts that a word of the prose can light up.

    Example:
        >>> picture = Picture("<svg></svg>", "▁▄█", ("step", "loss"), [(0, 2.5), (1, 1.5)])
        >>> print(picture)
        ▁▄█
    """

    svg: str
    text: str
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    blocks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the SVG to a file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def slug(label: str) -> str:
    """Return a label as the name of a block.

    Example:
        >>> slug("the error (mean)")
        'the-error-mean'
    """
    return re.sub(r"[^\w]+", "-", label.lower()).strip("-") or "block"


def document(title: str, height: float, parts: Iterable[str], told: str) -> str:
    """Return a whole SVG with a frame, its title and the style of all pictures."""
    h = math.ceil(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="whence-picture" role="img" '
        f'aria-label="{escape(f"{title}. {told}")}" width="{WIDTH}" height="{h}" '
        f'viewBox="0 0 {WIDTH} {h}"><style>{STYLE}</style>'
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{h - 1}" rx="8"/>'
        f"{_title(title)}{''.join(parts)}</svg>"
    )


def _title(text: str) -> str:
    """The picture's title, squeezed where it is too long."""
    line = label(20, 28, text, "title")
    if 8.6 * len(text) <= WIDTH - 40:
        return line
    return line.replace("<text", f'<text textLength="{WIDTH - 40}" lengthAdjust="spacingAndGlyphs"')


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>'


def group(block: str, parts: Iterable[str], colour: int | None = None, tip: str = "") -> str:
    """Return parts as the block of a name, in one of the colours, with a text on hover."""
    kind = f' class="c{colour % COLOURS + 1}"' if colour is not None else ""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<g data-block="{escape(block)}"{kind}>{title}{"".join(parts)}</g>'


def legend(labels: Sequence[str], y: float, kinds: Sequence[str]) -> tuple[list[str], float]:
    """Return swatches with their labels, in as many lines as it takes, and where they end."""
    parts, x = [], 20.0
    for i, (text, kind) in enumerate(zip(labels, kinds, strict=True)):
        wide = 46 + 7.6 * len(text)
        if x + wide > WIDTH - 10 and x > 20:
            x, y = 20.0, y + 20
        mark = (
            f'<circle class="fill" cx="{x + 8:.1f}" cy="{y - 4:.1f}" r="4.5"/>'
            if kind == "points"
            else f'<rect class="fill" x="{x:.1f}" y="{y - 7:.1f}" width="16" height="5" rx="2"/>'
        )
        parts.append(group(slug(text), [mark, label(x + 22, y, text)], i))
        x += wide
    return parts, y


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round numbers from low to high.

    Example:
        >>> ticks(0.0, 10.0)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / n
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(x: float) -> str:
    """Return a number in at most four significant digits, without an exponent where it is short.

    Example:
        >>> figure(0.149377), figure(12345.6), figure(-0.5), figure(8.3e-7)
        ('0.1494', '12,350', '−0.5', '8.3·10⁻⁷')
    """
    if not math.isfinite(x):
        return "∞" if x > 0 else "−∞" if x < 0 else "?"
    if x and not 1e-4 <= abs(x) < 1e7:
        mantissa, _, power = f"{x:.3e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        mantissa = "" if mantissa == "1" else f"{mantissa}·"
        return f"{mantissa}10{str(int(power)).translate(SUPERSCRIPT)}".replace("-", "−")
    digits = max(0, 3 - math.floor(math.log10(abs(x)))) if x else 0
    rounded = round(x, 3 - math.floor(math.log10(abs(x)))) if x else 0.0
    text = f"{rounded:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return numbers as a line of blocks, the least lowest and the largest highest.

    Example:
        >>> sparkline([4.0, 2.0, 1.0])
        '█▃▁'
    """
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return ""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    low, span = min(known), (max(known) - min(known)) or 1.0
    spots = [SPARKS[round((v - low) / span * 7)] if math.isfinite(v) else "·" for v in values]
    return "".join(spots)
