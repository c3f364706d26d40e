"""Tokens of a large text are on the disk once, however many runs in a folder were trained on it."""

import os
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.store.files import read_json, sha256

LARGE = 50 << 20  # bytes of tokens.bin from which on a second copy is worth avoiding


def share_tokens(run: Path, others: Path) -> Path | None:
    """Let a run that is being made have its tokens in common with one that has the same.

    Args:
        run: the run's folder, with tokens.bin and tokens.json.
        others: the folder in which other runs are looked for.

    Returns:
        The run that has them too; none where there is none, or they are small.
    """
    mine = run / "tokens.bin"
    size = mine.stat().st_size
    if size < LARGE:
        return None
    wanted = read_json(run / "tokens.json")["tokens_sha256"]
    for theirs in sorted(others.glob("*/tokens.bin")):
        linked = mine.with_name("tokens.bin.shared")
        try:
            if theirs.is_symlink() or theirs.stat().st_size != size or theirs.samefile(mine):
                continue
            known = read_json(theirs.with_name("tokens.json")).get("tokens_sha256")
            if known != wanted or sha256(theirs) != wanted:
                continue
            os.link(theirs, linked)
            os.replace(linked, mine)
        except (OSError, WhenceError):
            linked.unlink(missing_ok=True)
            continue
        return theirs.parent
    return None
