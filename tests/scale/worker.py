"""One process of several, as torchrun starts it: it trains runs that a test has made.

    worker.py FOLDER NAME[:UNTIL][!] ...

UNTIL is a step to stop before; with `!` the disk of process 1 is full.
"""

import errno
import json
import sys
from pathlib import Path

from torch.distributed.checkpoint import HuggingFaceStorageWriter

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.together import take_part
from whence.runs.training.events import Stepped
from whence.scale.team import Team, join, leave


def main(folder: Path, names: list[str]) -> None:
    team = join()
    for name in names:
        full = name.endswith("!")
        write = HuggingFaceStorageWriter.write_data
        if full and team.rank == 1:
            HuggingFaceStorageWriter.write_data = _no_room
        if team.leads:
            _lead(folder, name.rstrip("!"), team)
        else:
            take_part(team)
        HuggingFaceStorageWriter.write_data = write
    leave()


def _lead(folder: Path, name: str, team: Team) -> None:
    name, _, until = name.partition(":")
    training = Run.open(folder / name).train(should_stop=Stop(until), team=team)
    try:
        for event in training:
            if isinstance(event, Stepped):
                Stop.at = event.step + 1
    except WhenceError as error:
        (folder / f"{name}.error").write_text(json.dumps(str(error)))
    team.end()


class Stop:
    at = 0

    def __init__(self, until: str):
        self.until = int(until) if until else None
        Stop.at = 0

    def __call__(self) -> bool:
        return self.until is not None and Stop.at >= self.until


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
