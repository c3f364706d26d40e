"""Making a run in a process of its own, so that no answer waits for a text to be tokenised.

`python -m whence.studio.processes.maker` reads what to make from standard input, as JSON, and
writes what went wrong to standard output.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.fork import fork
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.store.aside import TakenError

_TAKEN = 3  # the exit status where another process was the first to end


def create(recipe: Recipe, path: Path) -> Run:
    """Make a run, as `Run.create` does.

    Raises:
        TakenError: another has the path by now.
        WhenceError: as `Run.create`.
    """
    return _made(path, {"recipe": recipe.to_dict()})


def fork_of(run: Run, step: int, path: Path, changes: Mapping[str, Any]) -> Run:
    """Make a fork of a run, as `whence.runs.fork.fork` does.

    Raises:
        TakenError: another has the path by now.
        WhenceError: as `fork`.
    """
    return _made(path, {"fork": str(run.path), "step": step, "changes": dict(changes)})


def _made(path: Path, job: dict[str, Any]) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "whence.studio.processes.maker"],
        input=json.dumps({"path": str(path), **job}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii",
        check=False,
    )
    if done.returncode == _TAKEN:
        raise TakenError(path, f"a run named {path.name} already exists: choose another name.")
    if done.returncode:
        try:
            message = json.loads(done.stdout)
        except ValueError:
            message = (
                f"making {path} ended with code {done.returncode}, as if it had been killed: "
                "is there enough memory for that text?"
            )
        raise WhenceError(message)
    return Run.open(path)


def main() -> int:
    """Make what standard input says."""
    job = json.load(sys.stdin)
    path = Path(job["path"])
    try:
        if "fork" in job:
            fork(Run.open(job["fork"]), job["step"], path, job["changes"])
        else:
            recipe = Recipe.from_dict(job["recipe"])
            Run.create(recipe, path)
    except TakenError:
        return _TAKEN
    except WhenceError as error:
        message = str(error)
    except Exception as error:  # nobody reads this process's traceback
        message = f"making {path} broke: {type(error).__name__}: {error}"
    else:
        return 0
    sys.stdout.write(json.dumps(message))
    return 2


if __name__ == "__main__":
    sys.exit(main())
