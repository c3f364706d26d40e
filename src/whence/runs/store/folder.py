"""A run's folder, and what can be read in it without computing: no PyTorch is needed for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from whence.data import Dataset, Tokenizer, load_tokenizer, open_dataset
from whence.errors import WhenceError, shell_word
from whence.runs.recipe import Recipe
from whence.runs.store.aside import remove_ours, sweep
from whence.runs.store.chain import check_run
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.files import DamagedError, disk_use, is_count, read_json, refuse_links
from whence.runs.store.header import Header, Origin
from whence.runs.store.lock import hold, is_held
from whence.runs.store.record import Logs
from whence.runs.store.steps import StepLines, Steps

T = TypeVar("T")
State = Literal["new", "training", "stopped", "finished"]


class Folder:
    """A run's folder: its recipe, tokens, records and checkpoints, as they lie on the disk.

    ```
    runs/<name>/
      run.toml          recipe, and for each sitting where it began and on what it was computed
      tokenizer.json  tokens.bin  tokens.json
      steps.jsonl  evals.jsonl  samples.jsonl  checkpoints.jsonl
      steps.index       the numbers of steps.jsonl again, to read them fast; made anew if it is gone
      checkpoints/000500/  model.safetensors  optimizer.safetensors  state.json
    ```

    Args:
        path: the folder.
        header: what its run.toml says; none: it is read when it is asked for.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, header: Header | None = None):
        self.path = path
        if header is not None:
            self.header = header

    @cached_property
    def header(self) -> Header:
        """What run.toml says."""
        refuse_links(self.path)
        return Header.read(self.path)

    @cached_property
    def recipe(self) -> Recipe:
        """Everything that decides what the run computes."""
        return self.header.recipe

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a run's folder.

        Raises:
            WhenceError: where there is none, or it is damaged, hostile or of a newer version.
        """
        path = Path(path)
        if not path.is_dir():
            raise WhenceError(f"there is no run at {path}: 'whence runs' lists those there are.")
        run = cls(path)
        assert run.header  # read now, so that what is wrong with it is said now
        return run

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def created(self) -> str:
        """When the folder was made, in ISO 8601."""
        return self.header.created

    @property
    def origin(self) -> Origin | None:
        """The run that this one was forked from, and where they part."""
        return self.header.origin

    @cached_property
    def dataset(self) -> Dataset:
        """The text's tokens, mapped into memory, in a part to train on and one to validate.

        Raises:
            WhenceError: where they aren't the run's, to the last bit.
        """
        self.header.check_pins(self.path)
        dataset = open_dataset(self.path, verify=True)
        if not len(dataset.validation):  # nothing is kept back: the measure is of what is learned
            n_bytes = dataset.n_bytes_train
            dataset = replace(dataset, validation=dataset.train, n_bytes_validation=n_bytes)
        highest = max(int(part.max(initial=0)) for part in (dataset.train, dataset.validation))
        if highest >= dataset.tokenizer.vocab_size:
            raise DamagedError(
                self.path / "tokens.bin", f"it holds token {highest}, which its tokenizer has not"
            )
        return dataset

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What turns text into tokens and back."""
        self.header.check_pins(self.path)
        return load_tokenizer(self.path / "tokenizer.json")

    @property
    def logs(self) -> Logs:
        """The files of the record."""
        return Logs(self.path, self.header.id)

    @cached_property
    def _step_lines(self) -> StepLines:
        return self.logs.steps

    @property
    def steps(self) -> Steps:
        """The record: one dict for each step done, read from the file when it is asked for.

        Raises:
            WhenceError: where it is damaged, or the run's files don't belong to each other; so do
                the measurements, samples, checkpoints and the state.
        """
        return self._checked(self._step_lines.all)

    @property
    def evals(self) -> list[dict[str, Any]]:
        """The measurements on the validation text."""
        return self._checked(lambda: list(self.logs.evals))

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What the model wrote during training."""
        return self._checked(lambda: list(self.logs.samples))

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    @property
    def checkpoints(self) -> list[int]:
        """The steps whose state is on disk."""
        return self._checked(lambda: saved_steps(self.checkpoint_folder))

    def _checked(self, read: Callable[[], T]) -> T:
        """Read something, after a look whether the run's files belong to each other."""
        try:
            check_run(self.path, self.header)
        except DamagedError as error:
            if error.path.name == "run.toml":
                raise
            read()  # what is wrong inside the file says more, where something is
            advice = f"'whence verify {shell_word(self.path)} --repair' puts aside what is damaged"
            raise DamagedError(error.path, f"{error.why}; {advice}") from error
        return read()

    @property
    def state(self) -> State:
        """How far the run has come: new, training (in some process), stopped or finished."""
        if is_held(self.path):
            return "training"
        if self.checkpoints and self.is_complete:
            return "finished"
        return "stopped" if any(True for _ in self.logs.steps) else "new"  # one line is enough

    @property
    def is_complete(self) -> bool:
        """Whether the state at the end is saved, and measured on all of the validation text."""
        last = max(saved_steps(self.checkpoint_folder), default=0)
        return self.is_measured(last, self.recipe.steps)

    def is_measured(self, state: int, steps: int) -> bool:
        """Tell whether a state is the end of so many steps, and measured on all of the text."""
        evals = [r for r in self.logs.evals if r["step"] >= steps] if state >= steps else []
        if not evals or any(record["whole"] for record in evals):
            return bool(evals)
        tokens = read_json(self.path / "tokens.json")
        count, split = tokens.get("count", 0), tokens.get("split", 0)
        n_tokens = count - split if is_count(count) and is_count(split) else 0
        return not self.recipe.record.measures_part_of(n_tokens)

    @property
    def disk_use(self) -> int:
        """How many bytes the folder takes; what it shares with other runs counts in parts."""
        return disk_use(self.path)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process alone; see `whence.runs.store.lock.hold`."""
        return hold(self.path)

    def remove(self) -> list[str]:
        """Delete what the run made, and its folder if nothing else is in it.

        Returns:
            The names of other files in the folder, which are left.

        Raises:
            WhenceError: where a process is training it, or it can't be removed.
        """
        with self.locked():
            left = remove_ours(self.path) if os.name != "nt" else []
        if os.name == "nt":  # only now is the lock's file closed
            left = remove_ours(self.path)
        sweep(self.path.parent)
        return left
