"""A run's folder read: its recipe, its tokens, the record of its steps, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from whence.errors import WhenceError, shell_word
from whence.runs.recipe import Recipe
from whence.runs.store.chain import check_run
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.files import DamagedError, disk_use, is_count, read_json, refuse_links
from whence.runs.store.header import Header, Origin
from whence.runs.store.lock import hold, is_held
from whence.runs.store.records.record import Logs

# What computes is imported by the methods that compute: a list of runs needs no PyTorch.
if TYPE_CHECKING:
    from whence.data import Dataset, Tokenizer
    from whence.runs.store.records.steps import StepLines, Steps
    from whence.runs.tasks import Text
    from whence.runs.tasks.text import Batches
    from whence.runs.training.session import Session

T = TypeVar("T")
State = Literal["new", "training", "stopped", "finished"]


class RunFolder:
    """What a run's folder holds, and what is made of it before anything is trained or asked.

    `whence.runs.run.Run` adds what is done with it.

    Args:
        path: the folder.
        header: what its run.toml says; none: it is read when it is asked for.

    Attributes:
        path: the folder.

    Example:
        >>> folder = RunFolder.open("runs/mine")
        >>> folder.recipe.steps, len(folder.steps)
        (6, 6)
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
        if path.name in ("", ".."):  # of the folder that one is in
            path = path.resolve()
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
        from whence.data.texts.shards import open_dataset

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
        from whence.data.tokenizers import load_tokenizer

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
        """Read something, after checking that the run's files belong together."""
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

    @cached_property
    def task(self) -> Text:
        """What the model is trained to do."""
        from whence.runs.tasks import task_of

        return task_of(self.recipe, self.dataset)

    @cached_property
    def batches(self) -> Batches:
        """What each step reads: `batches[step]` gives its (weight, part) pairs."""
        from whence.runs.training.session import batches_of

        return batches_of(self.recipe, self.task, "cpu")

    def refuse_counted(self) -> None:
        """Refuse what only a model that learned step by step can be asked for.

        Raises:
            WhenceError: where the run's model was counted.
        """
        if not self.task.by_steps:
            raise WhenceError(
                f"{self.path} is a counted model: it read its text once and has no steps to go "
                "back to or to change; train another on the text you want."
            )

    def session(self) -> Session:
        """Return model, batches and optimizer as they are before step 0."""
        from whence.runs.training.session import assemble

        return assemble(self.recipe, self.dataset)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process alone; see `whence.runs.store.lock.hold`."""
        return hold(self.path)
