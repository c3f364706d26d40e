"""`whence attention` and `whence silence`: what the heads of a trained model read, and are for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.models.evaluate import which
from whence.cli.small.experiment import print_report, record_of
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.runs.questions.attention import Map

SHADES = " ░▒▓█"
WIDE = 40  # tokens that a terminal's map shows


def attention(
    run: Annotated[Path, tyro.conf.Positional],
    text: Annotated[str, tyro.conf.Positional],
    /,
    *,
    layer: int | None = None,
    head: int | None = None,
    token: str | None = None,
    svg: Path | None = None,
    checkpoint: str = "best",
    json: bool = False,
) -> None:
    """Show what each attention head reads in a text of yours: a table, and one head as a picture.

    Args:
        run: the run's folder, such as runs/topics-1.
        text: what the model reads; for a model of pairs: source, tab, target.
        layer: which layer's head to draw, from 1; none: the head that chooses most.
        head: which of its heads, from 1.
        token: show what this token reads in every head, such as `it`; its last occurrence.
        svg: also write the picture to this file.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        json: print JSON: every weight.
    """
    from whence.lessons.attending import attention_picture
    from whence.runs.questions.attention import attention as maps_of

    opened = Run.open(run)
    maps = maps_of(opened, text, which(opened, checkpoint))
    number, chosen = _choose(maps, layer, head)
    picture = attention_picture(maps[number], chosen)
    if svg is not None:
        try:
            svg.write_text(picture.svg, encoding="utf-8")
        except OSError as error:
            raise WhenceError(f"{svg} can't be written: {error.strerror or error}.") from None
    if json:
        layers = [
            {"name": m.name, "reads": m.reads, "read": m.read, "weights": m.weights.tolist()}
            for m in maps
        ]
        print(strict({"schema": 1, "run": str(run), "text": text, "layers": layers}))
        return
    console = Console(soft_wrap=True)
    console.print(_table(maps))
    if token is not None:
        _print_token(console, maps, token)
    _print_map(console, maps[number], chosen)
    if svg is not None:
        console.print(f"picture: {svg}")


def _choose(maps: list[Map], layer: int | None, head: int | None) -> tuple[int, int]:
    """The layer and head to draw, from 0: those asked for, else the least even one."""
    if layer is not None and not 1 <= layer <= len(maps):
        raise WhenceError(f"there is no layer {layer}: there are 1 to {len(maps)}.")
    places = [
        (i, h)
        for i, m in enumerate(maps)
        for h in range(len(m.weights))
        if layer in (None, i + 1) and head in (None, h + 1)
    ]
    if not places:
        raise WhenceError(f"there is no head {head}: each layer has {len(maps[0].weights)}.")
    return min(places, key=lambda place: maps[place[0]].evenness(place[1]))


def _table(maps: list[Map]) -> Table:
    table = Table(title="what each head reads, on the average of the text", title_justify="left")
    table.add_column("layer", justify="right")
    table.add_column("name")
    table.add_column("head", justify="right")
    for name in ("first token", "the one before", "itself", "evenness"):
        table.add_column(name, justify="right")
    for i, m in enumerate(maps, start=1):
        for h in range(len(m.weights)):
            shares = m.on_average(h)
            cells = [
                f"{shares[name]:.2f}" if shares else "" for name in ("first", "before", "itself")
            ]
            table.add_row(str(i), m.name, str(h + 1), *cells, f"{m.evenness(h):.2f}")
    return table


def _print_token(console: Console, maps: list[Map], token: str) -> None:
    """What one token reads, in every head."""
    table = Table(box=None, pad_edge=False)
    table.add_column("head")
    table.add_column(f"{token!r} reads hardest")
    found = False
    for i, m in enumerate(maps, start=1):
        # A token such as " it" is found by its word, too.
        places = [t for t, name in enumerate(m.reads) if token in (name, name.strip())]
        if not places:
            continue
        found = True
        for h, rows in enumerate(m.weights):
            row = rows[places[-1]]
            best = sorted(range(len(row)), key=lambda s: -row[s])[:4]
            said = ", ".join(f"{m.read[s]!r} {row[s]:.2f}" for s in best)
            table.add_row(f"layer {i}, head {h + 1}", said)
    if not found:
        known = ", ".join(map(repr, dict.fromkeys(maps[0].reads)))
        raise WhenceError(f"the text has no token {token!r}, as the model reads it: {known[:200]}.")
    console.print()
    console.print(table)


def _print_map(console: Console, m: Map, head: int) -> None:
    """Rows read columns; the fuller a cell, the more attention it gets."""
    weights, reads = m.weights[head][-WIDE:, -WIDE:], m.reads[-WIDE:]
    width = max(len(name) for name in reads) + 2
    console.print(f"\n{m.name}, head {head + 1}: each row is a token that reads, and each")
    console.print("column one that is read, in the same order; fuller is more, a full cell all")
    for name, row in zip(reads, weights.tolist(), strict=True):
        cells = "".join(SHADES[min(4, round(4 * w))] * 2 for w in row)
        console.print(f"{name:>{width}} {cells}")
    hidden = len(m.reads) - len(reads)
    if hidden > 0:
        console.print(f"the last {WIDE} tokens; {hidden} more before them")


def silence(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    heads: bool = True,
    tokens: int = 16_384,
    checkpoint: str = "best",
    json: bool = False,
) -> None:
    """Silence each head and each part of a trained model in turn, and measure what it costs.

    Args:
        run: the run's folder, such as runs/topics-1.
        heads: silence single heads, too; --no-heads: whole parts only.
        tokens: the most tokens of the validation part to read each time.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        json: print JSON instead of a table.
    """
    from whence.experiments.inside.silence import silence as by_silence

    if tokens < 4:
        raise WhenceError(f"--tokens is {tokens}: give more.")
    opened = Run.open(run)
    report: Any = by_silence(opened, which(opened, checkpoint), tokens, heads)
    if json:
        print(strict(record_of("silence", report)))
        return
    print_report(Console(), report)
