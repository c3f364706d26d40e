"""From files of others to a run at step 0."""

from dataclasses import replace
from pathlib import Path

from whence.data import Source, open_source
from whence.errors import WhenceError
from whence.interop.found import Found
from whence.interop.gguf.reading import open_gguf
from whence.interop.huggingface import open_folder
from whence.interop.smollm import smollm_file
from whence.runs.recipe import Data, Recipe
from whence.runs.run import Run
from whence.runs.start import start
from whence.runs.store.header import Origin
from whence.runs.training.creation import at_free
from whence.train.optimizers import AdamWConfig
from whence.train.schedules import Schedule

WINDOW = 256  # tokens of a training window, by default


def find_model(where: Path | str) -> Found:
    """Find a model: a Hugging Face folder, a GGUF file, or `smollm`, which comes as a package.

    Raises:
        WhenceError: where there is none, or it can't be read: what is missing.

    Example:
        >>> find_model("smollm").config.n_layers  # doctest: +SKIP
        30
    """
    path = Path(where)
    if str(where) == "smollm" and not path.exists():
        path = smollm_file()
    if path.is_dir():
        return open_folder(path)
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise WhenceError(
            f"{path} is a pickle, which can run any code when it is opened: if you trust it, "
            "convert it to safetensors with transformers (save_pretrained)."
        )
    if path.suffix == ".safetensors":
        raise WhenceError(f"{path} holds weights alone: give its folder, with config.json.")
    if not path.exists():
        raise WhenceError(
            f"there is no model at {path}: give a Hugging Face folder, a .gguf file, or smollm."
        )
    return open_gguf(path)


def import_model(
    where: Path | str,
    path: Path | str | None = None,
    text: tuple[str, ...] | Source = ("topics",),
) -> Run:
    """Make a run at step 0 of a model that others trained.

    The run has the model's weights as its checkpoint 0, its tokenizer and chat template, and a text
    cut into its tokens, on which it can be evaluated and trained further.

    Args:
        where: see `find_model`.
        path: the run's folder; none: `runs/` and a name made from the model's.
        text: what the run is evaluated and trained on.

    Raises:
        WhenceError: where the model can't be read, or the folder exists.

    Example:
        >>> import_model("smollm").generate("The capital of France is")  # doctest: +SKIP
    """
    found = find_model(where)
    name = found.path.absolute().name if Path(where).exists() else str(where)  # smollm
    source = open_source(text) if isinstance(text, tuple) else text
    recipe = tuning(found)
    names = text if isinstance(text, tuple) else (source.name,)
    recipe = replace(recipe, data=replace(recipe.data, source=names))
    told = (f"its weights and tokenizer are those of {found.path.name}", *found.notes)
    origin = Origin(str(where), 0, told, "import")

    def make(path: Path) -> Run:
        return start(path, recipe, source, found.tokenizer, found.weights, origin)

    return make(Path(path)) if path is not None else at_free(Path("runs"), name, make)


def tuning(found: Found) -> Recipe:
    """Return the recipe by which a model that others trained is usually trained further.

    Example:
        >>> tuning(find_model("smollm")).optimizer.learning_rate  # doctest: +SKIP
        2e-05
    """
    window = min(WINDOW, found.config.context_length)
    return Recipe(
        data=Data(tokenizer="imported"),
        model=found.config,
        optimizer=AdamWConfig(learning_rate=2e-5, weight_decay=0.0),
        schedule=Schedule("cosine", warmup=10),
        steps=100,
        batch_size=4,
        window=None if window == found.config.context_length else window,
    )
