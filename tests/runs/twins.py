"""Two `whence train` of one text at the same time, the second a little later each round.

Each round forks two processes that run the command with different tokenizers. Both must end well,
each under a name of its own, and both runs must hold what they were told to.

A few rounds run with the tests; `python -m tests.runs.twins --rounds 250` makes 500 runs.
POSIX only (it forks).
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.cli.command import TEXT, TINY, whence
from tests.runs.forked import forked
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.upkeep.verify import verify

KINDS = ("chars", "bytes")
LONGEST = 0.25  # seconds: longer than making takes, so that every offset in between is met
STEPS = "3"


def _command(kind: str, at: float) -> int:
    """Start a process that runs the command at a time; give its id."""
    pid = forked()
    if pid:
        return pid
    code = 1
    try:
        sink = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        time.sleep(max(0.0, at - time.monotonic()))
        code = whence("train", "text.txt", "--tokenizer", kind, "--steps", STEPS, *TINY)
    finally:
        sys.stdout.flush()
        os._exit(code)


def check(folder: Path, codes: list[int]) -> list[str]:
    """Say what is wrong after a round."""
    wrong = [] if codes == [0, 0] else [f"exit codes {codes}: {(folder / 'said').read_text()}"]
    names = sorted(p.name for p in (folder / "runs").iterdir())
    if names != ["text-1", "text-2"]:
        return [*wrong, f"names {names}"]
    kinds = []
    for name in names:
        try:
            run = Run.open(folder / "runs" / name)
            kinds.append(run.recipe.data.tokenizer)
            if run.state != "finished" or not verify(run).exact or len(run.steps) != int(STEPS):
                wrong.append(f"{name} is {run.state} after {len(run.steps)} steps")
        except WhenceError as error:
            wrong.append(str(error))
    return wrong if sorted(kinds) == sorted(KINDS) else [*wrong, f"tokenizers {kinds}"]


def twins(rounds: int) -> list[str]:
    """Let two commands run at once, so many times; give what went wrong."""
    folder, here, wrong = Path(tempfile.mkdtemp(prefix="twins ")), Path.cwd(), []
    try:
        os.chdir(folder)
        Path("text.txt").write_text(TEXT)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            # What is imported late is imported here, once for all that are forked.
            whence("train", "text.txt", "--steps", "1", "--out", "warm", *TINY)
        for number in range(rounds):
            offset = LONGEST * number / max(1, rounds - 1)
            start = time.monotonic() + 0.01
            order = KINDS if number % 2 else KINDS[::-1]
            pids = [_command(k, start + d) for k, d in zip(order, (0.0, offset), strict=True)]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
            wrong += [f"{offset:.3f} s apart: {line}" for line in check(folder, codes)]
            shutil.rmtree("runs", ignore_errors=True)
            Path("said").unlink(missing_ok=True)
    finally:
        os.chdir(here)
        shutil.rmtree(folder)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=250)
    arguments = parser.parse_args()
    lost = twins(arguments.rounds)
    print("\n".join(lost))
    print(f"{2 * arguments.rounds} runs begun at once with another, {len(lost)} lost")
    sys.exit(bool(lost))
