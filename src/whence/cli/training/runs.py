"""`whence runs`: what has been trained, and how to delete it."""

import sys
from pathlib import Path

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.training.run_table import print_runs
from whence.cli.words import call
from whence.data.texts.kept import clear, kept_bytes, kept_folder
from whence.errors import WhenceError, in_bytes
from whence.runs.store.files import disk_use
from whence.runs.summary import Summary, runs_in, state_of_summary, summary_of
from whence.runs.upkeep.removal import run_to_remove
from whence.runs.upkeep.tags import set_tags, tags_of
from whence.visible import one_line


def runs(words: list[str]) -> None:
    """List the runs, or remove some."""
    if words and words[0] == "remove":
        call(_remove, words[1:], "whence runs remove")
    elif words and words[0] == "clear-cache":
        call(_clear_cache, words[1:], "whence runs clear-cache")
    elif words and words[0] == "tag":
        call(_tag, words[1:], "whence runs tag")
    elif words and not words[0].startswith("-"):
        raise WhenceError(
            f"'whence runs' has no command {words[0]!r}: 'whence runs' lists the runs, 'whence "
            "runs remove NAME' deletes one, 'whence runs tag NAME WORDS' tags one, and 'whence "
            "runs "
            "clear-cache' deletes the kept tokens."
        )
    else:
        call(_list, words, "whence runs")


def _list(*, folder: Path = Path("runs"), json: bool = False) -> None:
    """List the runs in a folder, with their loss and the disk they use.

    `whence runs remove NAME` deletes a run, after asking; `whence runs clear-cache` the tokens that
    are kept so that a text is cut into tokens once.

    Args:
        folder: where to look.
        json: print JSON instead of a table.
    """
    found = ((path, summary_of(path)) for path in runs_in(folder))
    rows = [_row(path, s) for path, s in sorted(found, key=lambda pair: pair[1].created)]
    if json:
        kept = {"folder": str(kept_folder()), "disk": kept_bytes()}
        print(strict({"schema": 1, "runs": rows, "kept_tokens": kept}, indent=1))
        return
    if not rows:
        print(f"no runs in {folder}: start one with 'whence train'.")
        _say_kept()
        return
    print_runs(rows, Console())
    print(
        f"{len(rows)} run{'s' if len(rows) != 1 else ''}, {in_bytes(sum(r['disk'] for r in rows))}"
    )
    for row in rows:
        if row["trouble"]:
            print(f"{one_line(row['path'])}: {one_line(row['trouble'])}")
    _say_kept()


def _say_kept() -> None:
    """Print how much disk the cached tokens take, if there are any."""
    if size := kept_bytes():
        print(
            f"tokens kept so that a text is cut once: {in_bytes(size)} in {kept_folder()} "
            "('whence runs clear-cache' frees that; no run needs it)"
        )


def _clear_cache() -> None:
    """Delete the tokens that are kept so that a text is cut into tokens once; no run needs them."""
    print(f"freed {in_bytes(clear())} in {kept_folder()}")


def _remove(runs: tuple[Path, ...], /, *, yes: bool = False) -> None:
    """Delete runs, damaged ones too, after asking.

    Args:
        runs: folders of runs, such as runs/topics-1.
        yes: don't ask.
    """
    if not runs:
        raise WhenceError("name the runs to remove, such as 'whence runs remove runs/topics-1'.")
    found = [run_to_remove(path) for path in runs]
    for path, run in zip(runs, found, strict=True):
        if not yes and not _confirmed(f"delete {path} ({in_bytes(disk_use(path))})? [y/N] "):
            print(f"kept {path}")
            continue
        left = run.remove()
        print(f"removed {path}")
        if left:
            print(f"left in it, since no run made it: {', '.join(map(one_line, left))}")


def _tag(run: Path, tags: tuple[str, ...] = (), /) -> None:
    """Give a run tags, in place of those it had; without any, it has none.

    Args:
        run: the run's folder.
        tags: a word or a few for each, such as baseline "for the talk".
    """
    found = set_tags(run, list(tags))
    print(f"{run}: {', '.join(map(one_line, found)) or 'no tags'}")


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise WhenceError("there is no terminal to ask: add --yes to delete without asking.")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _row(path: Path, s: Summary) -> dict:
    return {
        "path": str(path),
        "state": "damaged" if s.trouble else state_of_summary(path, s),
        "model": s.model,
        "text": s.text,
        "done": s.done,
        "steps": s.steps,
        "bits_per_byte": s.measured,
        "disk": s.bytes,
        "trouble": s.trouble,
        "tags": tags_of(path),
    }
