"""Pull the plug at every file operation of a run's life: only what was flushed is sure to be left.

The life is lived once, in a process whose file operations are followed. Before each of them it is
noted which names and bytes have been flushed to the disk (`fsync` of a file, and of a folder), and
which a kill would find. From the two are made the disks that a power loss may leave:

- strict: nothing but what was flushed;
- names: every name, and of the bytes only the flushed ones;
- zeros: every name, and zeros where bytes weren't flushed;
- bytes: every byte, and only the flushed names;
- mixed: of each folder and of each file the one or the other by chance, or half of the bytes.

On each of them the life is lived again: it must end with the bits of the one that nothing
disturbed, and every checkpoint that was told must be there. A sample runs with the tests;
`python -m tests.runs.power` does them all. Linux only: the folders lie in memory, where no inode is
given twice.
"""

import argparse
import os
import pickle
import random
import shutil
import stat
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runs.every import CHANGES, LIVES, WRITING, Life, check_end, disturbed, done
from tests.runs.forked import forked
from tests.runs.tiny import losses
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.checkpoints import check_checkpoint

MEMORY = Path("/dev/shm")
KINDS = ("strict", "names", "zeros", "bytes", "mixed")
NAMES = tuple(name for name in LIVES if name not in ("export", "repair"))

Names = dict[int, dict[str, int]]  # a folder's inode → its names and their inodes
Bytes = dict[int, bytes]  # a file's inode → what it holds


@dataclass
class Moment:
    """What a disk and the system's memory hold at one instant.

    Attributes:
        flushed: names and bytes that are on the disk.
        seen: names and bytes that a process sees.
        root: the inode of the folder.
        step: the last step that was told; −1: none.
        saved: the last checkpoint that was told; 0: none.
    """

    flushed: tuple[Names, Bytes]
    seen: tuple[Names, Bytes]
    root: int
    step: int
    saved: int


class Disk:
    """Follows the file operations of this process in a folder, and notes each moment between two.

    Args:
        folder: all that is in it has been flushed.
        log: where the moments go.
    """

    def __init__(self, folder: Path, log: Path):
        self.folder, self.root = str(folder), folder.stat().st_ino
        self.names, self.bytes = look(folder)
        self.log = log.open("wb")
        self._at_work = threading.RLock()  # training and its saver, one after the other
        self._noting = False
        self._fsync = os.fsync
        os.fsync = self._syncing
        sys.addaudithook(self._hear)

    def close(self) -> None:
        """Note the last moment, and no more."""
        self.note()
        self._noting = True
        self.log.close()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        inside = any(self.folder in str(a) for a in arguments[:2])
        if inside or (event in ("os.remove", "os.rmdir") and arguments[-1] != -1):
            self.note()

    def _syncing(self, handle: int) -> None:
        self.note()
        with self._at_work:
            self._fsync(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            inode = os.fstat(handle).st_ino
            if path.is_dir():
                self.names[inode] = names_in(path)
            else:
                self.bytes[inode] = path.read_bytes()

    def note(self) -> None:
        """Note this moment."""
        with self._at_work:
            if self._noting:
                return
            self._noting = True
            seen = look(Path(self.folder))
            told = [int.from_bytes(part, "little", signed=True) for part in (done[:8], done[16:])]
            flushed = dict(self.names), dict(self.bytes)
            pickle.dump(Moment(flushed, seen, self.root, *told), self.log)
            self._noting = False


def names_in(path: Path) -> dict[str, int]:
    """The names in a folder, each with its inode."""
    with os.scandir(path) as entries:
        return {entry.name: entry.inode() for entry in entries}


def look(folder: Path) -> tuple[Names, Bytes]:
    """What a process sees of a folder; what is renamed meanwhile is passed over."""
    names: Names = {}
    contents: Bytes = {}
    for root, _, files in os.walk(folder):
        with suppress(OSError):
            names[os.stat(root).st_ino] = names_in(Path(root))
        for name in files:
            with suppress(OSError):
                path = Path(root, name)
                contents[path.stat().st_ino] = path.read_bytes()
    return names, contents


def left_by(moment: Moment, kind: str, draw: random.Random, path: Path) -> None:
    """Write a disk that a power loss at a moment may leave."""
    flushed, seen = moment.flushed, moment.seen

    def names_of(folder: int) -> dict[str, int]:
        now, safe = seen[0].get(folder, {}), flushed[0].get(folder, {})
        if kind == "mixed":
            return draw.choice((now, safe))
        return safe if kind in ("strict", "bytes") else now

    def bytes_of(file: int) -> bytes:
        safe = flushed[1].get(file, b"")
        now = seen[1].get(file, safe)
        more = now[len(safe) :] if now.startswith(safe) else b""
        ways = {
            "strict": safe,
            "names": safe,
            "zeros": safe + bytes(len(more)),
            "bytes": now,
            "torn": safe + more[: len(more) // 2],
        }
        return ways[draw.choice(list(ways)) if kind == "mixed" else kind]

    def write(folder: int, place: Path) -> None:
        place.mkdir()
        for name, inode in names_of(folder).items():
            if inode in seen[0] or inode in flushed[0]:
                write(inode, place / name)
            else:
                (place / name).write_bytes(bytes_of(inode))

    write(moment.root, path)


def lived(folder: Path, life: Life, log: Path) -> Iterator[Moment]:
    """Live once in another process; give the moments between its file operations."""
    done[:] = b"\xff" * 8 + bytes(16)
    pid = forked()
    if not pid:
        disk, code = Disk(folder, log), 1
        with suppress(BaseException):
            life.live(folder)
            disk.close()
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with log.open("rb") as file, suppress(EOFError):
        while True:
            yield pickle.load(file)


def check_left(folder: Path, life: Life, whole: Path, moment: Moment) -> None:
    """What was flushed before it was told must be there, and nothing may be wrong with it."""
    if life.ended is None:
        return
    if not (folder / life.ended).exists():
        assert not moment.saved, f"checkpoint {moment.saved} was told, and the run is gone"
        return
    run, like = Run.open(folder / life.ended), Run.open(whole / life.ended)
    assert run.state in ("new", "stopped", "finished")
    saved = run.checkpoints
    assert not moment.saved or max(saved, default=0) >= moment.saved, f"{moment.saved} is lost"
    for step in saved:
        check_checkpoint(run.checkpoint_folder, step)
    if life is not LIVES["rewrite the record"]:
        found = losses(run)
        assert found == losses(like)[: len(found)], "other losses"
        assert len(found) >= moment.saved


def power(
    every: int = 1, first: int = 0, names: tuple[str, ...] = NAMES, seed: int = 0
) -> Iterator[str]:
    """Pull the plug at each operation of each life (or one of so many); give what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="power ", dir=MEMORY))
    draw = random.Random(seed)
    for name in names:
        life, before, whole = LIVES[name], folder / "before", folder / "whole"
        for path in (before, whole, folder / "once"):
            shutil.rmtree(path, ignore_errors=True)
        before.mkdir()
        life.prepare(before)
        shutil.copytree(before, whole)
        life.live(whole)  # here, so that what torch loads lazily is loaded once
        once = Path(shutil.copytree(before, folder / "once"))
        for at, moment in enumerate(lived(once, life, folder / "log")):
            COUNTS["moments"] += 1
            if (at - first) % every:
                continue
            for kind in KINDS:
                place = folder / f"{kind} {at}"
                left_by(moment, kind, draw, place)
                try:
                    check_left(place, life, whole, moment)
                    code, said, _ = disturbed(place, life, 10**9, "killed")
                    assert code == 0, f"not again: {said}"
                    check_end(place, life, whole)
                    COUNTS[kind] += 1
                except (AssertionError, WhenceError, OSError) as error:
                    yield f"{name}, {kind} at {at}: {type(error).__name__} {error}"[:600]
                shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(folder)


COUNTS: Counter[str] = Counter()


def can_be_simulated() -> bool:
    """Whether this is Linux, with a disk in memory."""
    return sys.platform == "linux" and MEMORY.is_dir() and stat.S_ISDIR(MEMORY.stat().st_mode)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lives", nargs="*", default=list(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = 0
    for line in power(given.every, given.first, tuple(given.lives), given.seed):
        print(line, flush=True)
        wrong += 1
    print(f"{dict(COUNTS)}: {wrong} without the same end")
    sys.exit(bool(wrong))
