"""A run whose first weights come from elsewhere: from files of others, or from another run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from whence.data import Source, Tokenizer, prepare
from whence.data.texts.telling import Preparing, tell_nobody
from whence.runs.fork import check_same_weights
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.store.chain import link, note
from whence.runs.store.checkpoints import copied, save_checkpoint
from whence.runs.store.header import Header, Origin
from whence.runs.store.past import Past
from whence.runs.trained import step_of
from whence.runs.training.creation import check_text, now, resolve


def start(
    path: Path,
    recipe: Recipe,
    source: Source,
    tokenizer: Tokenizer,
    weights: Callable[[], dict[str, Tensor]],
    origin: Origin,
    preparing: Preparing = tell_nobody,
) -> Run:
    """Make a run whose state before step 0 is given: its checkpoint 0 holds it.

    Args:
        path: the folder, not there yet.
        recipe: its model is that of the weights.
        source: the text.
        tokenizer: cuts it into the tokens that the weights know.
        weights: reads them: name → tensor, tied ones being one object.
        origin: where they come from.
        preparing: as of `Run.create`.

    Raises:
        WhenceError: where the folder exists or the text is too short.

    Example:
        >>> start(Path("runs/b"), recipe, source, a.tokenizer, weights, origin)  # doctest: +SKIP
    """
    recipe = resolve(recipe, source)

    def fill(folder: Path) -> Header:
        data = recipe.data
        prepare(
            source,
            tokenizer.kind,
            None,
            data.validation,
            folder,
            tokenizer,
            None,
            preparing,
            data.documents,
        )
        header = Header(recipe, now(), origin=origin)
        tie = link(header, Past(folder).now())
        save_checkpoint(folder / "checkpoints", 0, weights(), {}, tie)
        note(folder, header, [0])
        return header

    return Run.make(path, fill, check_text)


def start_from(
    run: Run, recipe: Recipe, path: Path, source: Source, preparing: Preparing = tell_nobody
) -> Run:
    """Make a run that begins with the weights and the tokenizer of another.

    Args:
        run: the other; its best checkpoint is taken.
        recipe: how to train on. Its model must have the weights of the other's.
        path: the folder, not there yet.
        source: the text.
        preparing: as of `Run.create`.

    Raises:
        WhenceError: where the model can't have those weights, as `start`.

    Example:
        >>> start_from(run, run.recipe, Path("runs/tuned"), source)  # doctest: +SKIP
    """
    run.refuse_counted()
    check_same_weights(run, recipe)
    tokenizer = run.tokenizer
    data = replace(recipe.data, tokenizer=tokenizer.kind, vocab_size=run.recipe.data.vocab_size)
    step = step_of(run, "best")
    told = f"its weights and tokenizer are those of {run.path} before step {step:,}"

    def weights() -> dict[str, Tensor]:
        return copied(run.model(step).state_dict(keep_vars=True))

    origin = Origin(str(run.path), 0, (told,), "start")
    return start(path, replace(recipe, data=data), source, tokenizer, weights, origin, preparing)
