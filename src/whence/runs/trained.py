"""The model of a run: best, last, or as it was before any step."""

from typing import Literal

from whence.errors import WhenceError
from whence.models import Model, build
from whence.runs.folder import RunFolder
from whence.runs.replay import go_to
from whence.runs.store.checkpoints import LetGoError, folder_name, load_weights, put_weights
from whence.runs.store.records.record import best_step
from whence.runs.training.session import outline
from whence.scale.hardware import Hardware


def trained_model(run: RunFolder, at: int | Literal["best", "last"] = "best") -> Model:
    """Return a run's model in evaluation mode.

    Args:
        run: the run.
        at: `best`, the checkpoint with the lowest loss on validation; `last`; or a step. What no
            checkpoint holds is replayed from the one before.

    Raises:
        WhenceError: where there is no such step, or the weights of a checkpoint aren't the model's.
    """
    while True:
        step = step_of(run, at)
        try:
            saved = step in run.checkpoints
            model = _model_of(run, step) if saved else go_to(run, step).model.to("cpu")
        except LetGoError:  # by a process that is training it: another one is nearest now
            continue
        model.eval()
        return model


def step_of(run: RunFolder, at: int | Literal["best", "last"]) -> int:
    """Return the step before which a run's model is asked for.

    Args:
        run: the run.
        at: as of `trained_model`. Of a run without a checkpoint, `best` and `last` are its state
            after the steps in its record.

    Raises:
        WhenceError: where there is no such step.
    """
    saved, done = run.checkpoints, len(run.steps) if run.task.by_steps else 0
    if isinstance(at, int):
        if at in saved or (run.task.by_steps and 0 <= at <= done):
            return at
        known = f"it has done {done:,}" if run.task.by_steps else f"there are {saved}"
        raise WhenceError(f"{run.path} has no step {at:,}: {known}.")
    if not saved and not done:
        raise WhenceError(f"{run.path} has no checkpoint yet: train it first.")
    best = best_step(run.evals, saved) if at == "best" else None
    return best if best is not None else saved[-1] if saved else done


def _model_of(run: RunFolder, step: int) -> Model:
    config, vocab_size = run.recipe.model, run.tokenizer.vocab_size
    weights = load_weights(run.checkpoint_folder, step)
    where = run.checkpoint_folder / folder_name(step)
    if getattr(config, "n_layers", 1) > len(weights):  # a lie that would take for ever to build
        raise WhenceError(f"the weights in {where} do not fit the run's model: too few layers.")
    if any(
        name not in weights or weights[name].shape != weight.shape
        for name, weight in outline(config, vocab_size).items()
    ):
        raise WhenceError(f"the weights in {where} do not fit the run's model.")
    with Hardware(device="cpu").in_force():
        model = build(config, vocab_size)
        run.task.prepare(model)
    put_weights(weights, model, where)
    return model
