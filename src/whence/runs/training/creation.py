"""What is settled when a run is made: every `auto` of its recipe, and its folder's name."""

import re
from dataclasses import replace
from pathlib import Path

from whence.data import Source
from whence.runs.recipe import Recipe

LARGEST_CHARACTER_TEXT = 20_000_000


def resolve(recipe: Recipe, source: Source) -> Recipe:
    """Replace every `auto` of a recipe by what it means for this text and this machine.

    Raises:
        WhenceError: where the machine lacks what was asked for.
    """
    from whence.runs.tasks import settle

    data = replace(recipe.data, source=tuple(str(s) for s in recipe.data.source))
    if data.tokenizer == "auto":
        kind = "chars" if source.n_bytes <= LARGEST_CHARACTER_TEXT else "bpe"
        data = replace(data, tokenizer=kind)
    recipe = settle(recipe, source)
    return replace(
        recipe,
        data=data,
        hardware=recipe.hardware.resolved(),
        record=recipe.record.resolved(recipe.steps, recipe.tokens_per_step),
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
