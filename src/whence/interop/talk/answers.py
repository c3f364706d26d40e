"""What a model answered, kept by its number, so that any token of it can be opened later."""

import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.store.files import SCHEMA, read_json, write_whole

FOLDER = "answers"
KEPT = 1000  # of a run; the oldest go


@dataclass(frozen=True)
class Answer:
    """One answer of a run's model.

    Attributes:
        id: its number, such as `chatcmpl-3f2a…`.
        step: the state of the run that gave it.
        prompt: ids of what was read.
        written: ids of what was answered.
        weights: how the model's weights were stored as it wrote: fp32, bf16, int8 or int4.
    """

    id: str
    step: int
    prompt: list[int]
    written: list[int]
    weights: str = "fp32"

    def rounded(self) -> str:
        """What to say where an answer was written with rounded weights; else nothing.

        Example:
            >>> Answer("chat-1", 0, [1], [2], "int8").rounded()[:26]
            'written with int8 weights;'
            >>> Answer("chat-1", 0, [1], [2]).rounded()
            ''
        """
        if self.weights == "fp32":
            return ""
        return f"written with {self.weights} weights; what follows has the run's own weights"

    def save(self, run: Path) -> None:
        """Write the answer into its run's folder.

        Raises:
            WhenceError: where it can't be written.
        """
        folder = run / FOLDER
        write_whole(folder / f"{self.id}.json", json.dumps({"schema": SCHEMA, **asdict(self)}))
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)


def new_id(kind: str) -> str:
    """Return a number for an answer.

    Example:
        >>> len(new_id("chatcmpl"))
        33
    """
    return f"{kind}-{secrets.token_hex(12)}"


def load_answer(run: Path, number: str) -> Answer:
    """Read an answer of a run.

    Raises:
        WhenceError: where there is none of that number.

    Example:
        >>> load_answer(Path("runs/smollm"), "chatcmpl-3f2a")  # doctest: +SKIP
    """
    path = run / FOLDER / f"{number}.json"
    if not re.fullmatch(r"[a-z]+-[0-9a-f-]+", number) or not path.is_file():
        raise WhenceError(
            f"{run} has no answer {number!r}: 'whence chat' and 'whence serve' keep the last "
            f"{KEPT:,} in {run / FOLDER}."
        )
    record = read_json(path)
    try:
        prompt, written = ([int(i) for i in record[name]] for name in ("prompt", "written"))
        weights = str(record.get("weights", "fp32"))
        return Answer(str(record["id"]), int(record["step"]), prompt, written, weights)
    except (KeyError, TypeError, ValueError) as error:
        raise WhenceError(f"{path} is damaged (missing or wrong: {error}).") from error


def find_answer(folder: Path, number: str) -> Path:
    """Return the run in a folder of runs that gave an answer.

    Raises:
        WhenceError: where none did.

    Example:
        >>> find_answer(Path("runs"), "chatcmpl-3f2a")  # doctest: +SKIP
    """
    runs = [p.parents[1] for p in folder.glob(f"*/{FOLDER}/*.json") if p.stem == number]
    if not runs:
        raise WhenceError(f"no run in {folder} has an answer {number!r}: name the run too.")
    return runs[0]
