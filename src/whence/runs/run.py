"""A run: the folder that holds a recipe, its tokens, the record of each step and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whence.data.texts.sources import Source
from whence.data.texts.telling import Preparing, tell_nobody
from whence.runs.folder import RunFolder, State
from whence.runs.recipe import Recipe
from whence.runs.store.aside import remove_ours, sweep
from whence.runs.store.header import Header
from whence.runs.store.lock import can_be_held
from whence.runs.summary import summary_of
from whence.runs.training.creation import check_trainable, make_as, make_at
from whence.runs.training.events import Event
from whence.scale.hardware import find_device
from whence.scale.weights import Weights, store

# What computes is imported by the methods that compute: a list of runs needs no PyTorch.
if TYPE_CHECKING:
    from whence.generate import Event as WrittenToken
    from whence.generate.pairs import Hypothesis
    from whence.generate.reader import CachedLanguageModel, LanguageModel
    from whence.models import Model
    from whence.runs.replay import Moment
    from whence.runs.training.recorded import Evaluations, Measuring
    from whence.scale.team import Team
    from whence.train.evaluation import Evaluation


At = int | Literal["best", "last"]  # of a step, the best measured, the last saved


class Run(RunFolder):
    """A folder that holds everything about one training run, and what can be asked of it.

    ```
    runs/<name>/
      run.toml          recipe, and for each segment where it began and on what it was computed
      tokenizer.json  tokens.bin  tokens.json
      steps.jsonl  evals.jsonl  samples.jsonl  checkpoints.jsonl
      steps.index       the numbers of steps.jsonl again, to read them fast; rebuilt if it is gone
      checkpoints/000500/  model.safetensors  optimizer.safetensors  state.json
    ```

    Get one by `Run.create` or `Run.open`.

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

    view: Callable[..., Any]
    """A view of the studio as a notebook's widget; added by `whence.api`, a higher layer."""

    diagnose: Callable[..., Any]
    """What is wrong with it, and on what evidence; added by `whence.api`, too."""

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        path: Path | str | None = None,
        source: Source | None = None,
        preparing: Preparing = tell_nobody,
    ) -> Run:
        """Make a run's folder: cut the text into tokens and save the recipe, all resolved.

        Args:
            recipe: what to train.
            path: the folder, not there yet; none: `runs/` and a name made from the text's, the
                next one that is free where another process takes it first.
            source: the text, where it is already open.
            preparing: told now and then what is done to a text that isn't cut into tokens yet, and
                how many characters are behind it, of how many.

        Raises:
            WhenceError: where the folder exists, the text can't be read or is too short.
        """
        return make_as(cls.make, recipe, path, source, preparing)

    @classmethod
    def make(
        cls,
        path: Path,
        fill: Callable[[Path], Header],
        check: Callable[[Run], None] | None = None,
    ) -> Run:
        """Make a run's folder under a temporary name, so that it is there whole or not at all.

        Args:
            path: the folder.
            fill: writes the tokens into the folder it is given and returns the header.
            check: refuses a run that could take no step; none: by taking the run to its first.

        Raises:
            TakenError: where the folder exists, also where another process was the first to end.
            WhenceError: where it can't be written, or the run could take no step.
        """
        make_at(path, fill, lambda folder, header: (check or check_trainable)(cls(folder, header)))
        summary_of(path)  # now, and not when it is listed
        return cls(path)

    def train(
        self,
        steps: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        measuring: Measuring = lambda done, total: False,
        evaluations: Evaluations | None = None,
        team: Team | None = None,
    ) -> Iterator[Event]:
        """Train from the last checkpoint, or the start, to the end; give each event as it happens.

        Steps that were done after that checkpoint are done again and must give the recorded
        losses to the bit.

        Args:
            steps: the new length of the run; none: as the recipe says. The schedule follows it from
                the first step that the record doesn't hold yet.
            should_stop: asked before the first step and after each; true saves a checkpoint and
                ends.
            measuring: told how far a measurement is, (batches done, of how many); true leaves that
                measurement out.
            evaluations: functions of your own by name, each from the model to a number: called at
                every measurement with the weights held fixed, and recorded with it.
            team: the processes that train it together, of which this one leads.

        Raises:
            WhenceError: where the run is finished, another process is training it, or a file that
                it must go on from is damaged: which one, and from which step it can go on.
        """
        from whence.runs.training.segment import train

        try:
            yield from train(self, steps, should_stop, measuring, evaluations, team)
        finally:
            summary_of(self.path)  # now, and not when it is listed

    def check_unfinished(self, steps: int | None = None) -> None:
        """Refuse at once what `train` would refuse.

        Raises:
            WhenceError: as `train`.
        """
        from whence.runs.training.segment import check_unfinished

        check_unfinished(self, steps)

    def at(self, step: int, approximate: bool = False) -> Moment:
        """Go back to the state before a step; see `whence.runs.replay.go_to`.

        Args:
            step: from 0 to the number of steps done, which is the state at the end.
            approximate: go on where a replayed loss differs from the record, and say how far off.
        """
        from whence.runs.replay import go_to

        return go_to(self, step, approximate)

    def model(self, at: At = "best") -> Model:
        """Return the model in evaluation mode.

        Args:
            at: `best`, the checkpoint with the lowest loss on validation; `last`; or a step, which
                is replayed where no checkpoint holds it.

        Raises:
            WhenceError: where there is no such step.
        """
        from whence.runs.trained import trained_model

        return trained_model(self, at)

    def writer(
        self, at: At = "best", weights: Weights = "fp32"
    ) -> LanguageModel | CachedLanguageModel:
        """Return the trained model where it writes fastest; see `model`.

        Args:
            at: as of `model`.
            weights: how they are stored: fp32, bf16, int8 or int4; see `whence.scale.weights`.

        Raises:
            WhenceError: where the model names classes and writes nothing, or can't be stored so.
        """
        model = self.model(at)
        store(model, weights)
        return self.task.writer(model.to(find_device("cpu" if "int" in weights else "auto")))

    def generate(self, prompt: str = "", *, at: At = "best", **options: Any) -> str:
        """Let the model continue a prompt, and return what it wrote.

        Args:
            prompt: the text to continue; of a model of pairs, a source, whose target it writes.
            at: which checkpoint; see `model`.
            **options: as of `stream`.
        """
        return "".join(e.text for e in self.stream(prompt, at=at, **options) if e.sample == 0)

    def stream(
        self,
        prompt: str = "",
        *,
        at: At = "best",
        weights: Weights = "fp32",
        **options: Any,
    ) -> Iterator[WrittenToken]:
        """Let the model continue a prompt, and give each token as it is drawn.

        Args:
            prompt: as of `generate`.
            at: which checkpoint; see `model`.
            weights: as of `writer`.
            **options: as of `whence.generate.stream`.

        Raises:
            WhenceError: a setting out of range, or a prompt that the model can't go on from.
        """
        from whence.generate import stream

        return stream(self.writer(at, weights), self.tokenizer, self.task.asked(prompt), **options)

    def search(
        self,
        prompt: str,
        width: int = 4,
        *,
        at: At = "best",
        max_tokens: int = 300,
    ) -> list[Hypothesis]:
        """Search for the likeliest ways to go on up to a line break, by beam search.

        Args:
            prompt: the text to continue; of a model of pairs, a source.
            width: how many beginnings are kept at each token.
            at: which checkpoint; see `model`.
            max_tokens: at most so many tokens are written.

        Returns:
            Up to `width` answers, the best first.

        Raises:
            WhenceError: an empty prompt, a width below 1, or a text the tokenizer can't read.
        """
        from whence.generate.generate import encode_prompt
        from whence.generate.pairs import beam_search

        end = int(self.tokenizer.encode("\n")[0])
        ids = encode_prompt(self.tokenizer, self.task.asked(prompt))
        return beam_search(self.writer(at), ids, end, width=width, max_tokens=max_tokens)

    def evaluate(
        self,
        text: str | Source | None = None,
        *,
        at: At = "best",
        overlap: bool = False,
    ) -> Evaluation:
        """Measure the loss over all of a text, as training measures it.

        Args:
            text: the text, or an open source, read in pieces; none: the run's validation part.
            at: which checkpoint; see `model`.
            overlap: let windows overlap by half instead of standing side by side, so that each
                prediction but the first few has at least half a window before it.

        Raises:
            WhenceError: where the text has a character the tokenizer doesn't know.
        """
        return self.task.measure(self.model(at), text, overlap)

    def remove(self) -> list[str]:
        """Delete what the run made, and its folder if nothing else is in it.

        Returns:
            The names of other files in the folder, which are left.

        Raises:
            WhenceError: where a process is training it, or it can't be removed.
        """
        with self.locked() if can_be_held(self.path) else nullcontext():
            left = remove_ours(self.path) if os.name != "nt" else []
        if os.name == "nt":  # only now is the lock's file closed
            left = remove_ours(self.path)
        sweep(self.path.parent)
        return left


__all__ = ["Run", "State"]
