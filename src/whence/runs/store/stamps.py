"""What changes when a run's files do: by these a summary is known to fit, or not, without reading.

A file that is written gets another time of change (ctime), which nobody can set back. A folder that
was copied as a whole has new inodes and times of change, and where the copy keeps the times of
writing (mtime), as `cp -a`, rsync, tar and `shutil.copytree` do, the summary in it is of the same
bytes: it needn't be made again.
"""

import os
from pathlib import Path
from typing import Any

# What a summary is made from.
SOURCES = (
    "run.toml", "steps.jsonl", "evals.jsonl", "samples.jsonl", "checkpoints.jsonl", "tokens.bin",
    "checkpoints", "watch.json", ".",
)  # fmt: skip
FOLDERS = ("checkpoints", ".")
SHARED = "tokens.bin"  # under several names: another name is a change of the file, not of its bytes

Stamps = list[list[int] | None]  # of each source: inode, size, mtime, ctime; None: it isn't there


def stamps_of(path: Path) -> Stamps:
    """Return the stamps of a run's files as they are now."""
    found: Stamps = []
    for name in SOURCES:
        try:
            s = os.stat(path / name)
        except OSError:
            found.append(None)
            continue
        if name == ".":  # keeping a summary changes the folder itself: only which it is counts
            found.append([s.st_ino, 0, 0, 0])
            continue
        changed = 0 if name == SHARED else s.st_ctime_ns
        found.append([s.st_ino, s.st_size, s.st_mtime_ns, changed])
    return found


def are_of_copy(then: Any, now: Stamps) -> bool:
    """Tell whether stamps are of a folder that this one is a copy of, file by file.

    Args:
        then: the stamps that were kept; read from a file, so they may be anything.
        now: those of the folder.

    Example:
        >>> then, now = [[1, 5, 7, 8]] * 8 + [[2, 0, 0, 0]], [[3, 5, 7, 9]] * 8 + [[4, 0, 0, 0]]
        >>> are_of_copy(then, now), are_of_copy(then, [[3, 6, 7, 9]] * 8 + [[4, 0, 0, 0]])
        (True, False)
    """
    if not isinstance(then, list) or len(then) != len(now) or then[-1] == now[-1]:
        return False
    for name, old, new in zip(SOURCES, then, now, strict=True):
        if old is None or new is None:
            if old is not new:
                return False
            continue
        if not isinstance(old, list) or len(old) != len(new):
            return False
        sized = name not in FOLDERS  # a folder's size is its file system's business
        if name != "." and (old[2] != new[2] or (sized and old[1] != new[1])):
            return False
    return True


def bytes_shared(path: Path) -> int:
    """Return how much of the disk this run's name for its tokens stands for: 1/n of n names."""
    try:
        s = os.stat(path / SHARED)
    except OSError:
        return 0
    return s.st_size // max(1, s.st_nlink)


def holds_a_link(path: Path) -> bool:
    """Tell whether something beside a run's files leads out of its folder."""
    try:
        with os.scandir(path) as entries:
            return any(entry.is_symlink() for entry in entries)
    except OSError:
        return True  # whoever opens the run says what is wrong
