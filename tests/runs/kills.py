"""Kill training again and again, at random moments and at every file operation; check what is left.

Now and then there is no room to write, or a file is torn or has a bit flipped. Every rung takes its
turn. `python -m tests.runs.kills --kills 300` runs the large version. POSIX only (it forks a
process that has everything imported, so that a kill costs a tenth of a second and not three).
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.runs.forked import forked
from tests.runs.tiny import RUNGS, files, losses, make
from whence.errors import WhenceError
from whence.models import NGramConfig
from whence.runs.recipe import Record
from whence.runs.run import Run
from whence.runs.store.checkpoints import check_checkpoint
from whence.runs.upkeep.repair import repair

KILLED = RUNGS | {"ngram": replace(RUNGS["gpt"], model=NGramConfig(order=3))}  # counted: one step
RECORD = Record(
    evaluate_every=4, evaluate_tokens=100, sample_tokens=2, sample_every=9, checkpoint_every=3
)
DIES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


def work(path: Path, rung: str, steps: int) -> None:
    """Make the run if it isn't there, and train it to its end."""
    steps = 1 if rung == "ngram" else steps
    run = Run.open(path) if path.exists() else make(path, KILLED[rung], steps=steps, record=RECORD)
    if run.state != "finished":
        for _ in run.train():
            pass


def die_at(operation: int, folder: Path) -> None:
    """Kill this process just before its file operation of that number in the folder."""
    left = operation

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in DIES and any(str(folder) in str(a) for a in arguments[:2]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def leave_no_room(size: int) -> None:
    """Let no file of this process grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def child(path: Path, rung: str, steps: int, before: Callable[[], None] = lambda: None) -> int:
    """Start work in another process; give its number. What it is refused with lies beside."""
    said = path.with_name(f"{path.name} said")
    said.touch()  # here: where there is no room, the child could not
    pid = forked()
    if pid:
        return pid
    try:
        before()
        work(path, rung, steps)
        os._exit(0)
    except WhenceError as error:
        message, code = str(error), 2
    except BaseException as error:
        message, code = f"{type(error).__name__}: {error}", 1
    resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
    said.write_text(message[:190], encoding="utf-8")
    os._exit(code)


def wait(pid: int) -> int:
    """Wait for a process: 0 when it has finished, −9 when it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(path: Path, whole: Run, before: int) -> int:
    """What a kill left must be sound, and a beginning of the whole; give how many steps it has."""
    if not path.exists():
        assert before == 0
        return 0
    run = Run.open(path)
    done = losses(run)
    assert done == losses(whole)[: len(done)], "other losses"
    assert len(done) >= before, f"{before - len(done)} complete steps are lost"
    for step in run.checkpoints:
        assert step <= len(done), "a checkpoint before its record"
        check_checkpoint(run.checkpoint_folder, step)
    return len(done)


def damage(path: Path, draw: random.Random) -> tuple[Path, bytes]:
    """Tear a file of the run, or flip a bit in it; give which, and what it was."""
    files = sorted(
        p for p in path.rglob("*") if p.is_file() and p.name != "lock" and p.stat().st_size
    )
    victim = draw.choice(files)
    was = victim.read_bytes()
    place = draw.randrange(len(was))
    if draw.random() < 0.5:
        victim.write_bytes(was[:place])
    else:
        victim.write_bytes(
            was[:place] + bytes([was[place] ^ 1 << draw.randrange(8)]) + was[place + 1 :]
        )
    return victim, was


def names(said: str, victim: Path) -> bool:
    """Whether a sentence names a file, or the checkpoint that it is part of."""
    return str(victim) in said or str(victim.parent) in said


def mend(path: Path, victim: Path, was: bytes, said: str) -> None:
    """Do what a person would who was told of a damaged file."""
    assert names(said, victim), f"{victim}: {said}"
    if "can continue from step" in said:
        assert repair(Run.open(path)), said
    else:  # a recipe or a text can't be guessed
        victim.write_bytes(was)


def same_end(path: Path, whole: Run, was_damaged: bool) -> None:
    """The run must have ended with the bits of the unbroken one."""
    run = Run.open(path)
    told = repair(run)  # a kill behind the last checkpoint leaves temporary names
    assert was_damaged or told == []
    end = whole.recipe.steps
    assert losses(run) == losses(whole)
    if not was_damaged or end in run.checkpoints:
        assert files(run, end) == files(whole, end)
    if not was_damaged:
        assert run.evals == whole.evals
        assert run.samples == whole.samples
    assert not [p for p in path.rglob("*") if p.name.endswith((".part", ".gone", ".tmp"))]


def harness(kills: int, seed: int, rungs: Sequence[str], steps: int = 30) -> dict[str, int]:
    """Kill so many times; give how it went."""
    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="kills "))
    counts = dict.fromkeys(("kills", "runs finished", "before any step", "no room", "damaged"), 0)
    wholes, duration = {}, {}
    for rung in rungs:
        work(folder / rung, rung, steps)  # here, so that what torch loads lazily is loaded once
        start = time.perf_counter()
        timed = folder / f"{rung} timed"
        assert wait(child(timed, rung, steps)) == 0, timed.with_name(
            f"{timed.name} said"
        ).read_text()
        duration[rung] = time.perf_counter() - start
        wholes[rung] = Run.open(folder / rung)
        same_end(timed, wholes[rung], was_damaged=False)
    while counts["kills"] < kills:
        rung = rungs[counts["runs finished"] % len(rungs)]
        path = folder / f"run {counts['runs finished']}"
        told = path.with_name(f"{path.name} said")
        done, operation, victim, was_damaged = 0, draw.randrange(6), None, False
        while True:
            way = draw.choices(("operation", "moment", "no room"), (5, 5, 1))[0]
            before = {
                "operation": partial(die_at, operation, folder),
                "moment": lambda: None,
                "no room": partial(leave_no_room, draw.randrange(200, 60_000)),
            }[way]
            pid = child(path, rung, steps, before)
            if way == "moment":
                time.sleep(draw.random() * duration[rung] * 0.7)
                os.kill(pid, signal.SIGKILL)
            code = wait(pid)
            said = told.read_text(encoding="utf-8") if code == 2 else ""
            assert code in (0, 2, -9), f"exit code {code}: {told.read_text()}"
            operation = draw.randrange(120)
            counts["kills"] += code == -9
            if code == 0:
                break
            # Room can end before a damaged file is read: an older checkpoint isn't looked at.
            if code == 2 and victim and (way != "no room" or names(said, victim[0])):
                mend(path, *victim, said)
                victim, done = None, 0
            elif code == 2:
                assert way == "no room", said
                assert "can't be" in said, said
                counts["no room"] += 1
            if victim is None:
                done = check(path, wholes[rung], done)
                counts["before any step"] += done == 0
                if done and draw.random() < 0.2:
                    victim, was_damaged, done = damage(path, draw), True, 0
                    counts["damaged"] += 1
        same_end(path, wholes[rung], was_damaged)
        counts["runs finished"] += 1
        shutil.rmtree(path)
    shutil.rmtree(folder)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rungs", nargs="*", default=list(KILLED))
    arguments = parser.parse_args()
    print(harness(arguments.kills, arguments.seed, arguments.rungs))
