"""run.toml: what a run is, written whole, with a checksum in its first line."""

import hashlib
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from whence.errors import WhenceError
from whence.runs.recipe import Recipe
from whence.runs.store.files import (
    SCHEMA,
    DamagedError,
    check_schema,
    read_text,
    sha256,
    write_whole,
)
from whence.runs.store.watched import is_watched

PINNED = ("tokenizer.json", "tokens.json")  # tokens.json pins tokens.bin in turn


@dataclass(frozen=True)
class Segment:
    """A stretch of training by one process.

    Attributes:
        start: the first step that it added to the record.
        steps: the run's whole length as it then was, which the schedule depends on.
        manifest: what it was computed on.
    """

    start: int
    steps: int
    manifest: dict[str, str | int]


How = Literal["fork", "start", "import"]


@dataclass(frozen=True)
class Origin:
    """Where a run's first state comes from, if it wasn't drawn.

    Attributes:
        run: the other run's folder, or the model's file, as it was named.
        step: the state before this step is the first that the run has itself.
        changes: what differs from there on, in words.
        how: `fork` shares the other's past; `start` starts again with its weights; `import` with
            those of a model that others trained.
    """

    run: str
    step: int
    changes: tuple[str, ...]
    how: How = "fork"

    @property
    def again(self) -> str:
        """What to do to have that state again."""
        if self.how == "fork":
            return f"fork {self.run} again at {self.step}"
        return (
            f"import {self.run} again" if self.how == "import" else f"start from {self.run} again"
        )


@dataclass
class Header:
    """What run.toml holds.

    Attributes:
        recipe: everything that decides what the run computes.
        created: when, in ISO 8601.
        segments: who trained which steps; of two that hold a step, the later.
        origin: where its first state comes from, if it wasn't drawn.
        pins: sha256 of tokenizer.json and tokens.json.
        id: sixteen hexadecimal digits of chance that every file of the run repeats, so that one of
            another run is noticed; empty in runs made before there were any.
    """

    recipe: Recipe
    created: str
    segments: list[Segment] = field(default_factory=list)
    origin: Origin | None = None
    pins: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def segment(self, step: int) -> Segment | None:
        """Return the segment that trained a step."""
        return next((s for s in reversed(self.segments) if s.start <= step), None)

    def length_at(self, step: int) -> int:
        """Return the run's whole length that the schedule of a step went by."""
        segment = self.segment(step)
        return segment.steps if segment else self.recipe.steps

    def pin(self, folder: Path) -> None:
        """Record which tokenizer and tokens belong to the run."""
        self.pins = {name: sha256(folder / name) for name in PINNED}

    def write(self, folder: Path) -> None:
        """Write run.toml, whole.

        Raises:
            WhenceError: where it can't be written.
        """
        import tomli_w

        tree: dict[str, Any] = {
            "schema": SCHEMA,
            "created": self.created,
            "id": self.id,
            "pins": self.pins,
            "recipe": self.recipe.to_dict(),
            "sittings": [vars(segment) for segment in self.segments],
        }
        if self.origin:
            tree["origin"] = {**vars(self.origin), "changes": list(self.origin.changes)}
        body = tomli_w.dumps(tree)
        write_whole(folder / "run.toml", _first_line(body) + body)

    @classmethod
    def read(cls, folder: Path) -> "Header":
        """Read run.toml.

        Raises:
            WhenceError: where there is none, or it is damaged, changed or of a newer version.
        """
        path = folder / "run.toml"
        if not path.is_file() and is_watched(folder):
            raise WhenceError(
                f"{folder} is the record of a watched loop and has no recipe: open a step of it "
                "with 'whence why FOLDER --step N --model module:function', or with recorder.at() "
                "while the loop's process is running."
            )
        if not path.is_file():
            raise WhenceError(f"{folder} is not a run: it has no run.toml.")
        text = read_text(path)
        first, newline, body = text.partition("\n")
        if first + newline != _first_line(body):
            raise DamagedError(
                path,
                "its checksum doesn't fit, so it was changed since it was written; a run's recipe "
                "stays as it is (whence fork makes a run with another), so restore the file",
            )
        try:
            tree = tomllib.loads(body)
        except (ValueError, RecursionError) as error:
            raise DamagedError(path, f"it is not TOML ({error})") from error
        check_schema(tree, path)
        try:
            return cls._from_tree(tree)
        except (KeyError, TypeError) as error:
            raise DamagedError(path, f"it lacks or mistakes {error}") from error

    @classmethod
    def _from_tree(cls, tree: Mapping[str, Any]) -> "Header":
        origin = tree.get("origin")
        if origin is not None:
            changes = tuple(_expect(c, str) for c in _expect(origin["changes"], list))
            how = origin.get("how", "fork")
            if how not in get_args(How):
                raise TypeError(f"{str(how)[:60]!r}, which isn't a kind of origin")
            origin = Origin(_expect(origin["run"], str), _count(origin["step"]), changes, how)
        pins = {name: _expect(tree["pins"][name], str) for name in PINNED}
        segments = [
            Segment(_count(s["start"]), _count(s["steps"]), dict(_expect(s["manifest"], dict)))
            for s in _expect(tree.get("sittings", []), list)
        ]
        recipe = Recipe.from_dict(_expect(tree["recipe"], dict))
        run = _expect(tree.get("id", ""), str)
        return cls(recipe, _expect(tree["created"], str), segments, origin, pins, run)

    def check_pins(self, folder: Path) -> None:
        """Check that the tokenizer and the tokens' description are those of the run.

        Raises:
            DamagedError: naming the file that isn't.
        """
        for name, pin in self.pins.items():
            if sha256(folder / name) != pin:
                raise DamagedError(
                    folder / name, "it isn't the one the run was made with (its sha256 differs)"
                )


def _first_line(body: str) -> str:
    return f'checksum = "{hashlib.sha256(body.encode()).hexdigest()}"\n'


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:60]!r}, which isn't of type {kind.__name__}")
    return value


def _count(value: Any) -> int:
    if not 0 <= _expect(value, int) < 2**63:
        raise TypeError(f"{value}, which isn't a count")
    return value
