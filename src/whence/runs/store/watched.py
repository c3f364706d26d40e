"""The folder of a loop that was watched: the record of its steps, without a recipe."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.store.aside import TakenError
from whence.runs.store.files import SCHEMA, DamagedError, read_json, write_whole

FILE = "watch.json"


@dataclass(frozen=True)
class Watched:
    """What a watched loop's folder says of it.

    Attributes:
        created: when the folder was made, in ISO 8601.
        models: their classes.
        optimizers: their classes.
        parameters: how many numbers they train.
        manifest: what it was computed on.
        build: `module:function` that builds the model, if it was told.
    """

    created: str
    models: tuple[str, ...]
    optimizers: tuple[str, ...]
    parameters: int
    manifest: Mapping[str, Any]
    build: str | None = None

    def write(self, folder: Path) -> None:
        """Make the folder, which must not be there yet, and write this into it.

        Raises:
            WhenceError: the folder is there, or can't be written.
        """
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise TakenError(
                folder,
                f"{folder} already exists: give watch() another folder as out=, or delete it.",
            ) from None
        except OSError as error:
            raise WhenceError(
                f"{folder} can't be made ({error.strerror or error}): choose another folder."
            ) from error
        tree = {
            "schema": SCHEMA,
            "created": self.created,
            "models": list(self.models),
            "optimizers": list(self.optimizers),
            "parameters": self.parameters,
            "manifest": dict(self.manifest),
            "build": self.build,
        }
        write_whole(folder / FILE, json.dumps(tree, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Watched":
        """Read it.

        Raises:
            WhenceError: it is missing, damaged or of a newer version.
        """
        path = folder / FILE
        tree = read_json(path)
        created, parameters = tree.get("created"), tree.get("parameters")
        models, optimizers = (_words(path, tree.get(n)) for n in ("models", "optimizers"))
        about = tree.get("manifest")
        if not (isinstance(created, str) and type(parameters) is int and isinstance(about, dict)):
            raise DamagedError(path, "it lacks created, parameters or manifest")
        build = tree.get("build")
        return cls(created, models, optimizers, parameters, about,
                   build if isinstance(build, str) else None)  # fmt: skip


def is_watched(folder: Path) -> bool:
    """Tell whether a folder is that of a watched loop."""
    return (folder / FILE).is_file()


def _words(path: Path, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DamagedError(path, "it lacks the names of models or optimizers")
    return tuple(value)
