"""Kill training again and again, at random moments and at every file operation; check what is left.

`python -m tests.runs.kills --kills 300` runs the large version. POSIX only (it forks a process that
has everything imported, so that a kill costs a tenth of a second and not three).
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.runs.tiny import RECIPE, TEXT, files, losses
from whence.data import text_source
from whence.errors import WhenceError
from whence.runs.checkpoints import check_checkpoint
from whence.runs.recipe import Record
from whence.runs.run import Run
from whence.runs.verify import repair

RECORD = Record(
    evaluate_every=4, evaluate_tokens=100, sample_tokens=2, sample_every=9, checkpoint_every=3
)
DIES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


def work(path: Path, steps: int) -> None:
    """Make the run if it isn't there, and train it to its end."""
    recipe = replace(RECIPE, steps=steps, record=RECORD)
    if path.exists():
        run = Run.open(path)
    else:
        run = Run.create(recipe, path, text_source("bottles", lambda: [TEXT]))
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


def child(path: Path, steps: int, operation: int | None) -> int:
    """Start work in another process; give its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if operation is not None:
            die_at(operation, path.parent)
        work(path, steps)
        os._exit(0)
    except WhenceError as error:
        print(f"refused: {error}", flush=True)
        os._exit(2)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)


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


def same_end(path: Path, whole: Run) -> None:
    """The run must have ended with the bits of the unbroken one."""
    run = Run.open(path)
    assert repair(run) == []  # a kill behind the last checkpoint leaves temporary names
    end = whole.recipe.steps
    assert losses(run) == losses(whole)
    assert files(run, end) == files(whole, end)
    assert run.evals == whole.evals
    assert run.samples == whole.samples
    assert not [p for p in path.rglob("*") if p.name.endswith((".part", ".gone", ".tmp"))]


def harness(kills: int, seed: int, steps: int = 30) -> dict[str, int]:
    """Kill so many times; give how it went."""
    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="kills "))
    counts = {"kills": 0, "runs finished": 0, "before any step": 0}
    work(folder / "whole", steps)  # here, so that what torch loads lazily is loaded once
    start = time.perf_counter()
    assert wait(child(folder / "timed", steps, None)) == 0
    duration = time.perf_counter() - start
    whole = Run.open(folder / "whole")
    same_end(folder / "timed", whole)
    while counts["kills"] < kills:
        path, done, operation = folder / f"run{counts['runs finished']}", 0, draw.randrange(6)
        while True:
            exact = draw.random() < 0.5  # at a file operation, or at a moment
            pid = child(path, steps, operation if exact else None)
            if not exact:
                time.sleep(draw.random() * duration * 0.7)
                os.kill(pid, signal.SIGKILL)
            code = wait(pid)
            assert code in (0, -9), f"exit code {code}"
            operation = draw.randrange(120)
            counts["kills"] += code == -9
            if code == 0:
                break
            done = check(path, whole, done)
            counts["before any step"] += done == 0
        same_end(path, whole)
        counts["runs finished"] += 1
        shutil.rmtree(path)
    shutil.rmtree(folder)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(harness(arguments.kills, arguments.seed))
