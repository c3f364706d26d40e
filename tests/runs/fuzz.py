"""Change a run's files in every way that comes to mind and let everything read them.

Each reader must give an answer or one sentence, in time and within a bound of memory. A sample runs
with the tests; `python -m tests.runs.fuzz --files 2000` looks harder. POSIX only (it forks).
"""

import argparse
import asyncio
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.runs.changes import mutate
from tests.runs.forked import forked
from tests.runs.tiny import finish, make
from whence.errors import WhenceError
from whence.runs.compare import compare
from whence.runs.fork import fork
from whence.runs.questions.export import export_metrics
from whence.runs.questions.growth import growth
from whence.runs.questions.whatif import what_if
from whence.runs.run import Run
from whence.runs.store.records.curves import Curves
from whence.runs.upkeep.listing import list_runs
from whence.runs.upkeep.repair import repair
from whence.runs.upkeep.verify import verify
from whence.studio.answers.training.runs import runs
from whence.studio.stream import Streams

LONGEST = 1000  # characters: more than a sentence fills a screen
SECONDS = 60.0
MEMORY = 3 << 30


async def _first_event(path: Path) -> str:
    """What a page that watches a run is told first."""
    return await anext(Streams().follow(path, 0))


Readers = Mapping[str, Callable[[Path], Any]]
READERS: Readers = {
    "the page's list": lambda path: runs(path.parent),
    "page": lambda path: asyncio.run(_first_event(path)),
    "list": lambda path: [(run.state, run.disk_use) for run in list_runs(path.parent)],
    "record": lambda path: [Run.open(path).steps, Run.open(path).evals, Run.open(path).samples],
    "curves": lambda path: Curves(path).evals,
    "rewind": lambda path: Run.open(path).at(12),
    "generate": lambda path: Run.open(path).generate("9", max_tokens=3),
    "evaluate": lambda path: Run.open(path).evaluate("9 bottles of beer", at="last"),
    "growth": lambda path: growth(Run.open(path), "9 bottles"),
    "compare": lambda path: compare(Run.open(path), Run.open(path)),
    "what-if": lambda path: what_if(Run.open(path), "bottles of beer on the wall, 7", 12),
    "export": lambda path: export_metrics(Run.open(path), "csv"),
    "fork": lambda path: fork(Run.open(path), 12, path.with_name("forked")).remove(),
    "verify": lambda path: verify(Run.open(path), 3),
    "resume": lambda path: next(Run.open(path).train(steps=21)),
    "repair": lambda path: repair(Run.open(path)),  # the last: it changes things
}


def read_all(
    path: Path, turn: Callable[[str], None] = lambda name: None, readers: Readers = READERS
) -> list[str]:
    """Let every reader have its turn, in this process; give what was no clean answer."""
    wrong: list[str] = []
    for name, reader in readers.items():
        turn(name)
        try:
            reader(path)
        except WhenceError as error:
            said = str(error)
            if len(said) > LONGEST or "\n" in said.strip() or "Traceback" in said:
                wrong.append(f"{name}: no sentence: {said[:300]!r} ({len(said)})")
        except Exception as error:
            wrong.append(f"{name}: {f'{type(error).__name__}: {error}'[:300]!r}")
    return wrong


def use(path: Path, seconds: float = SECONDS, readers: Readers = READERS) -> list[str]:
    """Let every reader read a folder in another process; give what was no clean answer."""
    read_end, write_end = os.pipe()
    pid = forked()
    if not pid:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        wrong = read_all(path, lambda name: _tell(write_end, name), readers)
        for line in wrong:
            _tell(write_end, f"! {line}")
        os._exit(0)
    os.close(write_end)
    wrong, turn = _listen(pid, read_end, seconds)
    os.close(read_end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code and not any("in time" in line for line in wrong):
        wrong.append(f"{turn}: ended the process with {code}")
    return wrong


def _tell(told: int, line: str) -> None:
    os.write(told, f"{line}\n".encode("utf-8", "replace"))


def _listen(pid: int, told: int, seconds: float) -> tuple[list[str], str]:
    """Hear whose turn it is until all are done; kill the process when one takes too long."""
    os.set_blocking(told, False)
    wrong: list[str] = []
    turn, since, rest = "", time.monotonic(), b""
    while True:
        try:
            raw = os.read(told, 1 << 16)
        except BlockingIOError:
            if time.monotonic() - since > seconds:
                os.kill(pid, signal.SIGKILL)
                return [*wrong, f"{turn}: no answer in time"], turn
            time.sleep(0.002)
            continue
        if not raw:
            return wrong, turn
        *lines, rest = (rest + raw).split(b"\n")
        for line in lines:
            if line.startswith(b"!"):
                wrong.append(line[2:].decode("utf-8", "replace"))
            else:
                turn, since = line.decode(), time.monotonic()


def fuzz(n_files: int, seed: int) -> tuple[int, list[str]]:
    """Change so many files, one run each; give the number of calls and what was no clean answer."""
    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="fuzz "))
    whole, wrong = folder / "whole", []
    finish(make(whole))
    for reader in READERS.values():  # what torch loads lazily is loaded once
        shutil.copytree(whole, folder / "warm" / "run", dirs_exist_ok=True)
        reader(folder / "warm" / "run")
    shutil.rmtree(folder / "warm")
    for number in range(n_files):
        place = folder / f"{number}"
        path = Path(shutil.copytree(whole, place / "run"))
        done = mutate(path, draw)
        wrong += [f"{number}, {done}: {line}" for line in use(path)]
        shutil.rmtree(place)
    shutil.rmtree(folder)
    return n_files * len(READERS), wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    calls, wrong = fuzz(arguments.files, arguments.seed)
    print("\n".join(wrong))
    print(f"{calls:,} calls of readers, {len(wrong):,} without an answer or a sentence in time")
