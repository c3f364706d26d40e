"""A run: the folder that holds a recipe, its tokens, the record of each step and checkpoints."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import nn

from whence.data import Dataset, Source, open_dataset, open_source, prepare
from whence.errors import WhenceError
from whence.generate import generate
from whence.models import Model, build
from whence.models.seq2seq import Seq2Seq
from whence.runs.checkpoints import folder_name, load_model, saved_steps
from whence.runs.events import Event
from whence.runs.files import SCHEMA, Lines, check_schema, disk_use, write_whole
from whence.runs.pairs import measure_pairs, pairs_of, parse_pairs
from whence.runs.recipe import Recipe
from whence.runs.session import Session, assemble
from whence.runs.training import Training, best_step, check_can_end
from whence.scale.hardware import Hardware, manifest
from whence.train.evaluation import Evaluation, evaluate

State = Literal["new", "training", "stopped", "finished"]
LARGEST_OWN_TOKENS = 50_000_000
LARGEST_CHARACTER_TEXT = 20_000_000


class Run:
    """A folder that holds everything about one training run, and what can be asked of it.

    ```
    runs/<name>/
      run.toml          recipe, and for each sitting where it began and on what it was computed
      tokenizer.json  tokens.bin  tokens.json
      steps.jsonl  evals.jsonl  samples.jsonl
      checkpoints/000500/  model.safetensors  optimizer.safetensors  state.json
    ```

    Get one by `Run.create`, `Run.open` or `whence.train`.

    Attributes:
        path: the folder.
        recipe: everything that decides what the run computes.

    Example:
        >>> import tempfile
        >>> from whence.models import GPTConfig
        >>> tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
        >>> run = Run.create(Recipe(model=tiny, steps=3), Path(tempfile.mkdtemp()) / "tiny")
        >>> for event in run.train():
        ...     pass
        >>> [record["step"] for record in run.steps]
        [0, 1, 2]
        >>> Run.open(run.path).state
        'finished'
    """

    def __init__(self, path: Path, recipe: Recipe, sittings: list[dict[str, Any]], created: str):
        self.path, self.recipe, self.sittings, self.created = path, recipe, sittings, created

    @classmethod
    def create(
        cls, recipe: Recipe, path: Path | str | None = None, source: Source | None = None
    ) -> "Run":
        """Make a run's folder: cut the text into tokens and save the recipe, all resolved.

        Args:
            recipe: what to train.
            path: the folder, not there yet; none: `runs/` and a name made from the text's.
            source: the text, where it is already open.

        Raises:
            WhenceError: where the folder exists, the text can't be read or is too short.
        """
        source = source or open_source(recipe.data.source)
        path = Path(path) if path is not None else free_path(Path("runs"), source.name)
        if path.exists():
            raise WhenceError(
                f"{path} already exists: continue it with 'whence resume {path}', or choose "
                "another name with --out."
            )
        recipe = resolve(recipe, source)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        run = cls(path, recipe, [], created)
        path.mkdir(parents=True)
        try:
            kind = recipe.data.tokenizer
            prepare(source, kind, recipe.data.vocab_size, recipe.data.validation, run.token_folder)
            assemble(recipe, run.dataset).batches[0]
            run._write()
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open a run's folder.

        Raises:
            WhenceError: where there is none, or it is damaged or of a newer version.
        """
        import tomllib

        path = Path(path)
        file = path / "run.toml"
        if not path.is_dir():
            raise WhenceError(f"there is no run at {path}: 'whence runs' lists those there are.")
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WhenceError(f"{path} is not a run: it holds no run.toml.") from error
        except (ValueError, OSError) as error:
            raise WhenceError(f"{file} is damaged: {error}.") from error
        check_schema(tree, file)
        recipe = tree.get("recipe")
        if not isinstance(recipe, dict):
            raise WhenceError(f"{file} is damaged: it holds no recipe.")
        return cls(
            path, Recipe.from_dict(recipe), tree.get("sittings", []), str(tree.get("created", ""))
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def token_folder(self) -> Path:
        """Where the tokens are."""
        return self.path

    @cached_property
    def dataset(self) -> Dataset:
        """The text's tokens, mapped into memory, in a part to train on and one to validate."""
        return open_dataset(self.token_folder)

    @property
    def tokenizer(self):
        """What turns text into tokens and back."""
        return self.dataset.tokenizer

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The record: one dict for each step done."""
        return list(Lines(self.path / "steps.jsonl"))

    @property
    def evals(self) -> list[dict[str, Any]]:
        """The measurements on the validation text."""
        return list(Lines(self.path / "evals.jsonl"))

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What the model wrote during training."""
        return list(Lines(self.path / "samples.jsonl"))

    @property
    def checkpoints(self) -> list[int]:
        """The steps whose state is on disk."""
        return saved_steps(self.path / "checkpoints")

    @property
    def state(self) -> State:
        """How far the run has come: new, training (in some process), stopped or finished."""
        if self._lock_is_held():
            return "training"
        saved = self.checkpoints
        if not saved:
            return "new" if not self.steps else "stopped"
        return "finished" if saved[-1] >= self.recipe.steps else "stopped"

    @property
    def disk_use(self) -> int:
        """How many bytes the folder holds."""
        return disk_use(self.path)

    def train(
        self, steps: int | None = None, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Event]:
        """Train from the last checkpoint, or the start, to the end; give each event as it happens.

        Steps that were done after that checkpoint are done again and must give the recorded
        losses to the bit.

        Args:
            steps: the new length of the run; none: as the recipe says.
            should_stop: asked after each step; true saves a checkpoint and ends.

        Raises:
            WhenceError: where the run is finished, or another process is training it.
        """
        with self.locked():
            if steps is not None:
                self.recipe = replace(self.recipe, steps=steps)
            done = self.checkpoints[-1] if self.checkpoints else 0
            check_can_end(self.recipe.steps, done)
            session = self.session()
            sitting = {"start": done, "steps": self.recipe.steps, **manifest(session.hardware)}
            self.sittings.append(sitting)
            self._write()
            yield from Training(self.path, session, should_stop).events()

    def session(self) -> Session:
        """Return model, batches and optimiser as they are before step 0."""
        return assemble(self.recipe, self.dataset)

    def model(self, at: int | Literal["best", "last"] = "best") -> Model:
        """Return the trained model in evaluation mode.

        Args:
            at: the checkpoint: a step, `last`, or `best`, the lowest loss on validation.

        Raises:
            WhenceError: where there is no such checkpoint.
        """
        saved = self.checkpoints
        if not saved:
            raise WhenceError(f"{self.path} has no checkpoint yet: train it first.")
        best = best_step(self.evals, saved)
        step = saved[-1] if at == "last" or best is None else best
        if isinstance(at, int):
            step = at
        if step not in saved:
            raise WhenceError(f"{self.path} has no checkpoint {step}: there are {saved}.")
        model = build(self.recipe.model, self.tokenizer.vocab_size)
        load_model(self.path / "checkpoints", step, model)
        return model.eval()

    def generate(
        self, prompt: str = "", *, at: int | Literal["best", "last"] = "best", **options: Any
    ) -> str:
        """Let the model continue a prompt, and return what it wrote.

        Args:
            prompt: the text to continue.
            at: which checkpoint; see `model`.
            **options: as of `whence.generate.generate`.
        """
        return generate(self.model(at), self.tokenizer, prompt=prompt, **options)[0]

    def evaluate(
        self, text: str | None = None, *, at: int | Literal["best", "last"] = "best"
    ) -> Evaluation:
        """Measure the loss over all of a text, in windows that overlap by half.

        Args:
            text: the text; none: the run's validation part.
            at: which checkpoint; see `model`.

        Raises:
            WhenceError: where the text has a character the tokenizer doesn't know.
        """
        model = self.model(at)
        if isinstance(model, Seq2Seq):
            known = pairs_of(self.dataset, model.config)[1] if text is None else None
            pairs = known or parse_pairs(text or "", self.tokenizer, model.config)
            return measure_pairs(model, model, pairs, self.tokenizer)
        tokens = self.dataset.validation if text is None else self.tokenizer.encode(text)
        context_length = self.recipe.model.context_length
        n_bytes = self.tokenizer.n_bytes(tokens[1:])
        return evaluate(
            model,
            tokens,
            context_length=context_length,
            stride=max(1, context_length // 2),
            n_bytes=n_bytes,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone.

        Raises:
            WhenceError: where another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise WhenceError(
                f"another process is training {self.path}: wait for it or stop it."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def remove(self) -> None:
        """Delete the folder.

        Raises:
            WhenceError: where a process is training it.
        """
        with self.locked():
            (self.path / "run.toml").unlink(missing_ok=True)
        shutil.rmtree(self.path)

    def _lock_is_held(self) -> bool:
        try:
            with self.locked():
                return False
        except WhenceError:
            return True

    def _write(self) -> None:
        import tomli_w

        tree = {
            "schema": SCHEMA,
            "created": self.created,
            "recipe": self.recipe.to_dict(),
            "sittings": self.sittings,
        }
        write_whole(self.path / "run.toml", tomli_w.dumps(tree))


def resolve(recipe: Recipe, source: Source) -> Recipe:
    """Replace every `auto` of a recipe by what it means for this text and this machine.

    Raises:
        WhenceError: where the machine lacks what was asked for.
    """
    data = replace(recipe.data, source=tuple(str(s) for s in recipe.data.source))
    if data.tokenizer == "auto":
        kind = "chars" if source.n_bytes <= LARGEST_CHARACTER_TEXT else "bpe"
        data = replace(data, tokenizer=kind)
    hardware: Hardware = recipe.hardware.resolved()
    return replace(
        recipe, data=data, hardware=hardware, record=recipe.record.resolved(recipe.steps)
    )


def free_path(folder: Path, name: str) -> Path:
    """Return a run's path that isn't taken: the text's short name and a number.

    Example:
        >>> free_path(Path("runs"), "My Poems.txt").parts[-1].startswith("my-poems")
        True
    """
    stem = re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-")[:40] or "run"
    taken = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return folder / f"{stem}-{number}"


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder, the newest last; what isn't a run is passed over.

    Example:
        >>> list_runs("there is no such folder")
        []
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = [Run.open(p) for p in folder.iterdir() if (p / "run.toml").is_file()]
    return sorted(found, key=lambda run: run.created)


__all__ = ["Run", "folder_name", "free_path", "list_runs", "resolve"]
