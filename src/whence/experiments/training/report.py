"""A ladder's report as one HTML file that needs nothing else: a table and two drawings."""

import math
from collections.abc import Sequence

from whence.experiments.training.ladder import Row
from whence.visible import escape

COLOURS = ("#0b6e4f", "#c1121f", "#1d4ed8", "#b45309", "#7c3aed", "#0e7490", "#be185d", "#4d7c0f")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
.scroll { overflow-x: auto }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem }
dd { margin: 0; font: 13px/1.5 ui-monospace, monospace; color: #444 }
.grid { stroke: #8883 }
svg { max-width: 100%; height: auto } svg text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e8e8e8 } th, td { border-color: #3a3d44 }
  dd { color: #bbb } svg text { fill: #e8e8e8 } }
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
        >>> row = Row("bigram", 4, 10, 1.0, 3.5, 9.0, "the & that")
        >>> "the &amp; that" in report([row], "poems")
        True
    """
    head = ["model", "bits/byte", "parameters", "tokens seen"]
    head += ["tokens/s training", "tokens/s writing"]
    if entropy is not None:
        head.insert(2, "above the source")
    lines = [f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"]
    best_first = sorted(rows, key=lambda r: r.bits_per_byte)
    for row in best_first:
        cells = [
            escape(row.rung),
            f"{row.bits_per_byte:.4f}",
            f"{row.parameters:,}",
            f"{row.tokens:,}",
            f"{row.training_speed:,.0f}",
            f"{row.writing_speed:,.0f}",
        ]
        if entropy is not None:
            cells.insert(2, f"{row.bits_per_byte - entropy:+.4f}")
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    wrote = "".join(f"<dt>{escape(row.rung)}</dt><dd>{escape(row.text)}</dd>" for row in best_first)
    colours = {row.rung: COLOURS[i % len(COLOURS)] for i, row in enumerate(rows)}
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>The ladder: {escape(title)}</title><style>{STYLE}</style><h1>The ladder: "
        f"{escape(title)}</h1><p>Bits per byte of the validation text; lower is better; 8 is no "
        "compression.</p>"
        f'{_bars(rows, entropy, colours)}<div class="scroll"><table>{"".join(lines)}</table></div>'
        "<h2>How each learned</h2><p>Bits per byte of the batches, by seconds of training.</p>"
        f"{_curves([row for row in rows if len(row.curve) > 1], colours)}"
        f"<h2>What each writes</h2><dl>{wrote}</dl></html>\n"
    )


def _bars(rows: Sequence[Row], entropy: float | None, colours: dict[str, str]) -> str:
    most = max(row.bits_per_byte for row in rows)
    wide, tall = 560, 26
    parts = []
    for i, row in enumerate(rows):
        y, length = i * tall, wide * row.bits_per_byte / most
        parts.append(
            f'<text x="100" y="{y + 18}" text-anchor="end">{escape(row.rung)}</text>'
            f'<rect x="110" y="{y + 4}" width="{length:.1f}" height="{tall - 8}" '
            f'fill="{colours[row.rung]}"/>'
            f'<text x="{116 + length:.1f}" y="{y + 18}">{row.bits_per_byte:.3f}</text>'
        )
    if entropy is not None:
        x = 110 + wide * entropy / most
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{len(rows) * tall}" stroke="currentColor" '
            'stroke-dasharray="4 3"/>'
            f'<text x="{x - 4:.1f}" y="{len(rows) * tall + 16}">the source itself: {entropy:.3f}'
            "</text>"
        )
    size = f'viewBox="0 0 760 {len(rows) * tall + (22 if entropy is not None else 4)}"'
    return f'<svg role="img" aria-label="bits per byte of each model" {size}>{"".join(parts)}</svg>'


def _curves(rows: Sequence[Row], colours: dict[str, str]) -> str:
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

    parts = ['<path d="M50 20V320H610" fill="none" stroke="currentColor"/>']
    for k in range(5):
        value = high - (high - low) * k / 4
        y = 20 + 75 * k
        parts.append(
            f'<text x="44" y="{y + 4}" text-anchor="end">{value:.2f}</text>'
            f'<line class="grid" x1="50" x2="610" y1="{y}" y2="{y}"/>'
        )
    for second in _decades(math.exp(first), math.exp(last)):
        x = 50 + 560 * (math.log(second) - first) / max(last - first, 1e-9)
        parts.append(
            f'<text x="{x:.1f}" y="340" text-anchor="middle">{second:g} s</text>'
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="320"/>'
        )
    for i, row in enumerate(rows):
        points = " ".join(place(s, b) for s, b in row.curve)
        y, colour = 30 + 20 * i, colours[row.rung]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<rect x="630" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
            f'<text x="648" y="{y}">{escape(row.rung)}</text>'
        )
    label = "training loss by seconds"
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 760 355">{"".join(parts)}</svg>'


def _decades(low: float, high: float) -> list[float]:
    """The 1s, 2s and 5s of each power of ten in a range.

    Example:
        >>> _decades(0.04, 2)
        [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{m}e{p}") for p in powers for m in (1, 2, 5)]
    return [m for m in marks if low <= m <= high]
