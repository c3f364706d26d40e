"""The model that a checkpoint holds, once its weights are known to fit."""

from typing import TYPE_CHECKING, Literal

from whence.errors import WhenceError
from whence.models import Model, build
from whence.runs.checkpoints import folder_name, load_weights, put_weights
from whence.runs.record import best_step
from whence.runs.session import outline

if TYPE_CHECKING:
    from whence.runs.run import Run


def trained_model(run: "Run", at: int | Literal["best", "last"] = "best") -> Model:
    """Return a run's trained model in evaluation mode.

    Args:
        run: has at least one checkpoint.
        at: the checkpoint: a step, `last`, or `best`, the lowest loss on validation.

    Raises:
        WhenceError: where there is no such checkpoint, or its weights aren't the model's.
    """
    saved = run.checkpoints
    if not saved:
        raise WhenceError(f"{run.path} has no checkpoint yet: train it first.")
    best = best_step(run.evals, saved)
    step = saved[-1] if at == "last" or best is None else best
    if isinstance(at, int):
        step = at
    if step not in saved:
        raise WhenceError(f"{run.path} has no checkpoint {step}: there are {saved}.")
    model = _model_of(run, step)
    model.eval()
    return model


def _model_of(run: "Run", step: int) -> Model:
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
    model = build(config, vocab_size)
    run.task.prepare(model)
    put_weights(weights, model, where)
    return model
