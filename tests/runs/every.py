"""Kill the life of a run, or let its disk fail, at every file operation; check what is left.

A life is making and training a run by each policy of checkpoints, going on where the record is
rewritten, forking, repairing and removing. At each operation of it the process is killed before it,
in the middle of a write, or the operation fails. What is left must be sound; doing the same again
must end with the bits of the life that nothing disturbed, and leave nothing over.

A sample runs with the tests; `python -m tests.runs.every` does them all. POSIX only (it forks).
"""

import argparse
import errno
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

from tests.runs.forked import forked
from tests.runs.tiny import abandon, files, finish, losses, make
from whence.errors import WhenceError
from whence.runs.fork import fork
from whence.runs.questions.export import export_metrics
from whence.runs.recipe import Record
from whence.runs.run import Run
from whence.runs.store.checkpoints import check_checkpoint
from whence.runs.store.records import lines as lines_module
from whence.runs.upkeep.repair import repair
from whence.runs.upkeep.verify import verify

STEPS = 9
RECORD = Record(
    evaluate_every=3, evaluate_tokens=100, sample_tokens=2, sample_every=4, checkpoint_every=2
)
KINDS = ("killed", "torn", "failed")
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
READS = {"os.listdir", "os.scandir"}
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass
class Life:
    """What is done to a run, and may be broken off and done again.

    Attributes:
        prepare: makes what is there before, in an empty folder.
        live: does it, from wherever it was broken off.
        ended: the run that it ends with; none where it ends with nothing.
    """

    prepare: Callable[[Path], None]
    live: Callable[[Path], None]
    ended: str | None = "run"


def _train(keep: str) -> Callable[[Path], None]:
    def live(folder: Path) -> None:
        record = replace(RECORD, keep=keep, keep_last=1)
        path = folder / "run"
        run = Run.open(path) if path.exists() else make(path, steps=STEPS, record=record)
        _to_the_end(run)

    return live


def _to_the_end(run: Run, steps: int | None = None) -> None:
    if run.state == "finished":
        with suppress(WhenceError):  # it says so, and tidies
            run.check_unfinished()
        return
    for event in run.train(steps):
        if type(event).__name__ == "Stepped":
            done[:8] = event.step.to_bytes(8, "little")
        elif type(event).__name__ == "Saved":
            done[16:] = event.step.to_bytes(8, "little")


def _half_way(folder: Path) -> None:
    """A run without its last steps, whose record says something else from step 5 on."""
    run = make(folder / "run", steps=STEPS, record=RECORD)
    abandon(run, before=8)
    records = run.steps
    shutil.rmtree(run.checkpoint_folder / "000006")
    repair(run)
    for record in records[5:]:
        record["loss_hex"] = (1.5).hex()
    run.logs.steps.replace(records)


def _finished(folder: Path) -> None:
    finish(make(folder / "run", steps=STEPS, record=RECORD))


def _fork(folder: Path) -> None:
    path = folder / "forked"
    if path.exists():
        run = Run.open(path)
    else:
        run = fork(Run.open(folder / "run"), 5, path, {"optimizer.learning_rate": 1e-3})
    _to_the_end(run)


def _damaged(folder: Path) -> None:
    """A flipped bit, a checkpoint gone, one of other weights, and a measurement cut off."""
    _finished(folder)
    path = folder / "run"
    raw = bytearray((path / "steps.jsonl").read_bytes())
    raw[-300] ^= 1
    (path / "steps.jsonl").write_bytes(bytes(raw))
    shutil.rmtree(path / "checkpoints/000004")
    shutil.copyfile(
        path / "checkpoints/000002/model.safetensors", path / "checkpoints/000006/model.safetensors"
    )
    lines = (path / "evals.jsonl").read_bytes().splitlines(keepends=True)
    (path / "evals.jsonl").write_bytes(b"".join(lines[:3]))


def _repair(folder: Path) -> None:
    run = Run.open(folder / "run")
    repair(run)
    _to_the_end(run)


def _remove(folder: Path) -> None:
    if (folder / "run").exists():
        Run.open(folder / "run").remove()
    make(folder / "run", steps=2, record=RECORD).remove()  # the name is free


def _export(folder: Path) -> None:
    export_metrics(Run.open(folder / "run"), "csv")


LIVES = {
    "train, all kept": Life(lambda folder: None, _train("all")),
    "train, the last kept": Life(lambda folder: None, _train("last")),
    "train, logarithmic": Life(lambda folder: None, _train("logarithmic")),
    "rewrite the record": Life(_half_way, lambda folder: _to_the_end(Run.open(folder / "run"))),
    "fork": Life(_finished, _fork, "forked"),
    "repair": Life(_damaged, _repair),
    "export": Life(_finished, _export),
    "remove": Life(_finished, _remove, None),
}
# Shared with the process that dies: the last step it told, how many operations there were, and
# the last checkpoint it told.
done = mmap.mmap(-1, 24)


class Fault:
    """Disturbs one file operation of this process.

    Args:
        folder: only operations in here count.
        at: the operation's number; one that is never reached only counts them.
        kind: of `KINDS`.
    """

    def __init__(self, folder: Path, at: int, kind: str):
        self.folder, self.at, self.kind, self.count = str(folder), at, kind, 0
        self._counting = threading.Lock()
        sys.addaudithook(self._hear)
        self._fsync, self._write = os.fsync, lines_module._write_all
        os.fsync = self._syncing
        lines_module._write_all = self._writing

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.count > self.at or event not in CHANGES | READS or self.kind == "torn":
            return
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        else:
            changes = event in CHANGES
        if not changes and self.kind != "failed":  # dying before a read is dying after a write
            return
        inside = any(self.folder in str(a) for a in arguments[:2])
        if inside or (event in ("os.remove", "os.rmdir") and arguments[-1] != -1):
            self._next()

    def _next(self) -> None:
        if self._is_it():
            self._happen()

    def _is_it(self) -> bool:
        """Count an operation; tell whether it is the one to disturb. Two threads have two."""
        with self._counting:
            self.count += 1
            return self.count - 1 == self.at

    def _happen(self) -> None:
        if self.kind == "failed":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.kill(os.getpid(), signal.SIGKILL)

    def _syncing(self, handle: int) -> None:
        if self.kind != "torn":
            self._next()
        self._fsync(handle)

    def _writing(self, file, data: bytes) -> None:
        if self._is_it():
            if self.kind != "killed":
                self._write(file, data[: len(data) // 2])
            self._happen()
        self._write(file, data)


def disturbed(folder: Path, life: Life, at: int, kind: str) -> tuple[int, str, int]:
    """Live in another process, disturbed once.

    Returns:
        Its exit code (−9: killed; 2: refused in a sentence), what it said, and how many operations
        there were.
    """
    said = folder.with_name(f"{folder.name} said")
    done[:] = b"\xff" * 8 + bytes(16)
    pid = forked()
    if not pid:
        message, code = "", 0
        fault = Fault(folder, at, kind)
        try:
            life.live(folder)
        except WhenceError as error:
            message, code = str(error), 2
        except BaseException as error:
            where = [f"{Path(f.filename).name}:{f.lineno}" for f in extract_tb(error.__traceback__)]
            message, code = f"{type(error).__name__}: {error} at {' '.join(where[-6:])}", 1
        fault.at = -1  # from here on nothing counts
        done[8:16] = fault.count.to_bytes(8, "little")
        said.write_text(message, encoding="utf-8")
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    message = said.read_text(encoding="utf-8") if said.exists() else ""
    said.unlink(missing_ok=True)
    return code, message, int.from_bytes(done[8:16], "little")


def left_over(folder: Path) -> list[str]:
    """Give the temporary names in a folder."""
    ends = (".part", ".gone", ".tmp", ".shared")
    return [str(p) for p in folder.rglob("*") if p.name.endswith(ends)]


def check_left(folder: Path, life: Life, whole: Path) -> None:
    """What is left must be sound, and hold every step that was told."""
    if life.ended is None or not (folder / life.ended).exists() or life.prepare is _damaged:
        return
    run, like = Run.open(folder / life.ended), Run.open(whole / life.ended)
    assert run.state in ("new", "stopped", "finished")
    if life.prepare is _half_way:
        return  # losses are dropped on purpose
    found = losses(run)
    assert found == losses(like)[: len(found)], "other losses"
    told = int.from_bytes(done[:8], "little", signed=True)
    assert len(found) > told, f"step {told} was told and is lost"
    for step in run.checkpoints:
        check_checkpoint(run.checkpoint_folder, step)


def check_end(folder: Path, life: Life, whole: Path) -> None:
    """The end must be that of the life that nothing disturbed."""
    assert left_over(folder) == []
    kept = {p.name for p in folder.iterdir()}
    assert kept == {p.name for p in whole.iterdir()}
    if life.ended is None:
        return
    run, like = Run.open(folder / life.ended), Run.open(whole / life.ended)
    assert run.state == "finished"
    assert run.checkpoints == like.checkpoints
    assert losses(run) == losses(like)
    assert files(run, STEPS) == files(like, STEPS)
    assert run.evals == like.evals
    assert run.samples == like.samples
    assert verify(run, 1).exact
    assert repair(run) == []


def disturb(
    every: int = 1,
    first: int = 0,
    names: tuple[str, ...] = tuple(LIVES),
    log: Path | None = None,
) -> Iterator[str]:
    """Disturb each life at each operation (or one of so many); give what went wrong.

    Args:
        every: of so many operations one is disturbed.
        first: beginning with this one.
        names: which lives.
        log: where each life and kind that is through is noted; what it holds isn't done again.
    """
    memory = Path("/dev/shm")  # where there is one: a disk would be waited for 100,000 times
    folder = Path(tempfile.mkdtemp(prefix="every ", dir=memory if memory.is_dir() else None))
    for name in names:
        through = _through(log, every, first)
        if all((name, kind) in through for kind in KINDS):
            for kind in KINDS:
                yield from _again(through[name, kind], kind)
            continue
        life, before, whole = LIVES[name], folder / "before", folder / "whole"
        for path in (before, whole):
            shutil.rmtree(path, ignore_errors=True)
        before.mkdir()
        life.prepare(before)
        shutil.copytree(before, whole)
        life.live(whole)  # here, so that what torch loads lazily is loaded once
        for kind in KINDS:
            if (name, kind) in through:
                yield from _again(through[name, kind], kind)
                continue
            n_before, wrong = COUNTS[kind], []
            for line in _disturb(folder, name, kind, range(first % every, 10**9, every)):
                wrong.append(line)
                yield line
            if log:
                noted = [every, first, name, kind, COUNTS[kind] - n_before, wrong]
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(noted) + "\n")
    shutil.rmtree(folder)


def _through(log: Path | None, every: int, first: int) -> dict[tuple[str, str], tuple[int, list]]:
    lines = log.read_text(encoding="utf-8").splitlines() if log and log.exists() else []
    noted = [json.loads(line) for line in lines]
    return {(n[2], n[3]): (n[4], n[5]) for n in noted if n[:2] == [every, first]}


def _again(noted: tuple[int, list[str]], kind: str) -> list[str]:
    COUNTS[kind] += noted[0]
    return noted[1]


def _disturb(folder: Path, name: str, kind: str, where: range) -> Iterator[str]:
    """Disturb one life in one way; its folders `before` and `whole` are there."""
    life, before, whole = LIVES[name], folder / "before", folder / "whole"
    shutil.rmtree(folder / "counted", ignore_errors=True)
    _, _, n = disturbed(Path(shutil.copytree(before, folder / "counted")), life, 10**9, kind)
    for at in range(where.start, n, where.step):
        place = Path(shutil.copytree(before, folder / f"{kind} {at}"))
        try:
            code, said, _ = disturbed(place, life, at, kind)
            assert code in ({0, 2} if kind == "failed" else {-9, 0, 2}), said
            assert len(said) < 1000, said
            COUNTS[kind] += 1
            check_left(place, life, whole)
            code, said, _ = disturbed(place, life, 10**9, kind)
            assert code == 0, f"not again: {said}"
            check_end(place, life, whole)
        except (AssertionError, WhenceError, OSError) as error:
            yield f"{name}, {kind} at {at} of {n}: {type(error).__name__} {error}"[:600]
        shutil.rmtree(place, ignore_errors=True)


COUNTS: Counter[str] = Counter()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lives", nargs="*", default=list(LIVES))
    parser.add_argument("--log", type=Path, help="notes what is through; goes on from there")
    arguments = parser.parse_args()
    wrong, lives = 0, tuple(arguments.lives)
    for line in disturb(arguments.every, arguments.first, lives, arguments.log):
        print(line, flush=True)
        wrong += 1
    print(f"{dict(COUNTS)}: {wrong} without the same end")
    sys.exit(bool(wrong))
