"""What can be trained from the page, and the recipe that a filled-in form stands for."""

import re
from pathlib import Path
from typing import Any

from whence.data.texts.sources import BUILT_IN
from whence.errors import WhenceError, shell_word
from whence.models.kinds import KINDS, NGramConfig
from whence.runs.recipe import Recipe, usual
from whence.runs.settings import differences, nested
from whence.runs.training.creation import free_path
from whence.runs.training.session import n_parameters
from whence.studio.answers.place import path_of, python_path
from whence.studio.texts import Texts

# The sizes that the page offers, in this order; a model has some of them.
SIZES = ("order", "smoothing", "k", "n_layers", "n_heads", "d_model", "d_ff", "n_previous")
SOURCES = {
    "topics": "the Python language reference, 466 kB",
    "stories": "generated stories with a known entropy",
    "dates": "written dates paired with ISO dates",
}


def form(texts: Texts) -> dict[str, Any]:
    """Say what can be trained: texts, models, and the usual value of each setting."""
    models = []
    for name, kind in KINDS.items():
        if kind.task == "labels" or name == "modern":  # no labelled text is built in; gpt is modern
            continue
        base = usual(Recipe(), name)
        settings = {f"model.{size}": getattr(base.model, size, None) for size in SIZES}
        if not isinstance(base.model, NGramConfig):
            settings |= {
                "model.context_length": base.model.context_length,
                "steps": base.steps,
                "batch_size": base.batch_size,
                "optimizer.learning_rate": base.optimizer.learning_rate,
                "seed": base.seed,
            }
        given = {setting: value for setting, value in settings.items() if value is not None}
        models.append({"name": name, "about": kind.about, "settings": given})
    sources = [{"name": name, "about": SOURCES.get(name, "")} for name in BUILT_IN]
    sources += [{"name": name, "about": "a text on this computer"} for name in texts.names()]
    return {
        "sources": sources,
        "models": models,
        "python": "from whence import Recipe; Recipe()",
        "shell": "whence train --help",
    }


def recipe(
    texts: Texts,
    *,
    source: str = "topics",
    named: str = "",
    model: str = "gpt",
    settings: dict | None = None,
    out: str = "",
) -> dict[str, Any]:
    """Say what a filled-in form would train, or which field doesn't fit.

    Args:
        texts: what the page may train on, and the folder of runs.
        source: a text of the form's list, or `text` for one that is pasted or chosen.
        named: what such a text is called.
        model: a name in `MODELS`.
        settings: dotted fields of the recipe → values.
        out: the run's name; none: one made from the text's.
    """
    folder = texts.folder
    made = make_recipe(source, model, settings or {}, texts)
    if source == "text":
        made = with_source(made, (texts.kept / text_name(named)).as_posix())
    path = path_of(folder, out) if out else free_path(folder, stem(source, named))
    if path.exists():
        raise WhenceError(f"a run named {path.name} already exists: choose another name.")
    return {
        "name": path.name,
        "parameters_by_vocabulary": {str(n): n_parameters(made.model, n) for n in (65, 256)},
        **ways(made, model, path),
    }


def make_recipe(source: str, model: str, settings: dict[str, Any], texts: Texts) -> Recipe:
    """Return the recipe of a filled-in form.

    Raises:
        WhenceError: naming the field that doesn't fit, or a text that the page may not read.

    Example:
        >>> texts = Texts(Path("runs"))
        >>> make_recipe("topics", "gpt", {"model.n_layers": 2, "steps": 9}, texts).model.n_layers
        2
    """
    if source != "text":
        texts.check([source])
    made = Recipe.from_dict(nested(settings), with_source(usual(Recipe(), model), source))
    if made.data.source != (source,):
        raise WhenceError("data.source isn't a setting here: choose a text from the list.")
    texts.check(made.data.validation_source)
    return made


def with_source(made: Recipe, source: str) -> Recipe:
    """Return a recipe with another text."""
    return Recipe.from_dict({"data": {"source": [source]}}, made)


def stem(source: str, named: str) -> str:
    """What the run is called after."""
    return text_name(named) if source == "text" else Path(source).name


def text_name(named: str) -> str:
    """Return the file name of a text that came from the page.

    Example:
        >>> text_name("../My Poems.txt"), text_name("")
        ('my-poems.txt', 'text.txt')
    """
    last = named.replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9]+", "-", Path(last).stem.lower()).strip("-")[:40]
    return f"{name or 'text'}.txt"


def ways(made: Recipe, model: str, path: Path) -> dict[str, str]:
    """Return the line of Python and the command that train a recipe."""
    base = usual(Recipe(), model)
    changed = differences(base.to_dict(), made.to_dict())
    fields = {name: new for name, _, new in changed if name != "data.source"}
    flags = [f"--{name.replace('_', '-')} {shell_word(str(new))}" for name, new in fields.items()]
    source = made.data.source[0]
    words = ["whence train", shell_word(source), f"--model {model}", *flags]
    tree = nested({"data.source": [source], **fields})
    built = f'Recipe.from_dict({tree!r}, usual(Recipe(), "{model}"))'
    return {
        "python": "from whence import Recipe, Run; from whence.runs.recipe import usual; "
        f"list(map(print, Run.create({built}, {python_path(path)}).train()))",
        "shell": " ".join([*words, f"--out {shell_word(path)}"]),
    }
