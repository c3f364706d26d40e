"""Draw who imports whom: `python docs/imports.py` writes docs/images/imports.svg.

A row for each layer that import-linter keeps, top to bottom, a box for each room in it. A line goes
from a room to each one below whose files it imports: the more imports, the wider. `errors`, which
everything imports, is left out.
"""

import re
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/imports.svg"
WIDTH, ROW, BOX, TALL = 900, 76, 150, 40


def layers() -> list[list[str]]:
    """The rooms of each layer, from the contract in pyproject.toml."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    rows = tools["importlinter"]["contracts"][0]["layers"]
    graph = grimp.build_graph("whence")
    drawn = graph.modules - {"whence.errors"}
    return [[m for m in re.findall(r"whence\.\w+", row) if m in drawn] for row in rows]


def picture() -> str:
    """The drawing as SVG."""
    graph = grimp.build_graph("whence", exclude_type_checking_imports=True)
    rows = [row for row in layers() if row]
    place = {
        room: (WIDTH * (i + 0.5) / len(row), ROW * (n + 0.5))
        for n, row in enumerate(rows)
        for i, room in enumerate(row)
    }
    lines, boxes = [], []
    for room, (x, y) in place.items():
        files = {room, *graph.find_descendants(room)}
        for below, (to_x, to_y) in place.items():
            theirs = {below, *graph.find_descendants(below)}
            n = sum(len(graph.find_modules_directly_imported_by(f) & theirs) for f in files)
            if n and to_y > y:
                top, bottom, middle = y + TALL / 2, to_y - TALL / 2, (y + to_y) / 2
                lines.append(
                    f'<path d="M{x:.0f} {top:.0f} C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} '
                    f'{to_x:.0f} {bottom:.0f}" stroke-width="{min(0.6 + n / 25, 4):.1f}">'
                    f"<title>{room} → {below}: {n} imports</title></path>"
                )
        word = room.partition(".")[2]
        boxes.append(
            f'<rect x="{x - BOX / 2:.0f}" y="{y - TALL / 2:.0f}" width="{BOX}" height="{TALL}" '
            f'rx="6"/><text x="{x:.0f}" y="{y + 4:.0f}">{escape(word)}'
            f'<tspan class="n"> {len(files)}</tspan></text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * len(rows)}" '
        'font-family="sans-serif" font-size="14"><style>path{fill:none;stroke:#7a8699;'
        "stroke-opacity:.45}rect{fill:#f4f6f9;stroke:#44546a}text{text-anchor:middle;fill:#1d2733}"
        ".n{fill:#7a8699;font-size:11px}</style>\n" + "\n".join([*lines, *boxes]) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} is drawn anew.")
