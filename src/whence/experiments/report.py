"""A ladder's report as one HTML file that needs nothing else: a table and two drawings."""

import math
from collections.abc import Sequence
from html import escape

from whence.experiments.ladder import Row

COLOURS = ("#0b6e4f", "#c1121f", "#1d4ed8", "#b45309", "#7c3aed", "#0e7490", "#be185d", "#4d7c0f")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
@media (prefers-color-scheme: dark) { :root { color-scheme: dark } }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child, td.text { text-align: left }
td.text { font: 13px/1.4 ui-monospace, monospace; color: #444 }
svg { max-width: 100%; height: auto } svg text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e8e8e8 } th, td { border-color: #3a3d44 }
  td.text { color: #bbb } svg text { fill: #e8e8e8 } }
"""


def report(rows: Sequence[Row], title: str, entropy: float | None = None) -> str:
    """Write the report of a ladder.

    Args:
        rows: the rungs.
        title: what they were trained on.
        entropy: the source's true entropy in bits per byte, where known.

    Returns:
        A whole HTML document, without scripts and without links to elsewhere.

    Example:
        >>> row = Row("bigram", 4, 10, 1.0, 1.2, False, 3.5, 9.0, "the & that")
        >>> "the &amp; that" in report([row], "poems")
        True
    """
    head = ["model", "bits/byte", "parameters", "tokens seen", "training", "writing", "it writes"]
    if entropy is not None:
        head.insert(2, "above the source")
    lines = [f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"]
    for row in sorted(rows, key=lambda r: r.bits_per_byte):
        cells = [
            escape(row.rung),
            f"{row.bits_per_byte:.4f}",
            f"{row.parameters:,}",
            f"{row.tokens:,}",
            f"{row.training_speed:,.0f}/s",
            f"{row.writing_speed:,.0f}/s",
        ]
        if entropy is not None:
            cells.insert(2, f"{row.bits_per_byte - entropy:.4f}")
        told = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr>{told}<td class="text">{escape(row.text)}</td></tr>')
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>The ladder: {escape(title)}</title><style>{STYLE}</style>"
        f"<h1>The ladder: {escape(title)}</h1>"
        "<p>Bits per byte of the validation text; lower is better, 8 is no compression.</p>"
        f'{_bars(rows, entropy)}<div class="wide"><table>{"".join(lines)}</table></div>'
        f"<h2>How each learned</h2><p>Bits per byte of the batches, by seconds of training.</p>"
        f"{_curves([row for row in rows if len(row.curve) > 1])}</html>\n"
    )


def _bars(rows: Sequence[Row], entropy: float | None) -> str:
    most = max(row.bits_per_byte for row in rows)
    wide, tall = 560, 26
    parts = []
    for i, row in enumerate(rows):
        y, length = i * tall, wide * row.bits_per_byte / most
        parts.append(
            f'<text x="100" y="{y + 18}" text-anchor="end">{escape(row.rung)}</text>'
            f'<rect x="110" y="{y + 4}" width="{length:.1f}" height="{tall - 8}" '
            f'fill="{_colour(i)}"/>'
            f'<text x="{116 + length:.1f}" y="{y + 18}">{row.bits_per_byte:.3f}</text>'
        )
    if entropy is not None:
        x = 110 + wide * entropy / most
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{len(rows) * tall}" stroke="currentColor" '
            'stroke-dasharray="4 3"/>'
        )
    size = f'viewBox="0 0 760 {len(rows) * tall + 4}"'
    return f'<svg role="img" aria-label="bits per byte of each model" {size}>{"".join(parts)}</svg>'


def _curves(rows: Sequence[Row]) -> str:
    if not rows:
        return "<p>Nothing was learned step by step.</p>"
    seconds = [s for row in rows for s, _ in row.curve]
    bits = [b for row in rows for _, b in row.curve]
    first, last = math.log(max(min(seconds), 1e-3)), math.log(max(seconds))
    low, high = min(bits), max(bits)

    def place(s: float, b: float) -> str:
        x = 50 + 560 * (math.log(max(s, 1e-3)) - first) / max(last - first, 1e-9)
        y = 20 + 300 * (high - b) / max(high - low, 1e-9)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<text x="44" y="24" text-anchor="end">{high:.1f}</text>'
        f'<text x="44" y="324" text-anchor="end">{low:.1f}</text>'
        f'<text x="50" y="345">{math.exp(first):.2g} s</text>'
        f'<text x="610" y="345" text-anchor="end">{math.exp(last):.3g} s (logarithmic)</text>'
        '<path d="M50 20V320H610" fill="none" stroke="currentColor"/>'
    ]
    for i, row in enumerate(rows):
        points = " ".join(place(s, b) for s, b in row.curve)
        y = 30 + 20 * i
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{_colour(i)}" stroke-width="2"/>'
            f'<rect x="630" y="{y - 10}" width="12" height="12" fill="{_colour(i)}"/>'
            f'<text x="648" y="{y}">{escape(row.rung)}</text>'
        )
    label = "training loss by seconds"
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 760 355">{"".join(parts)}</svg>'


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]
