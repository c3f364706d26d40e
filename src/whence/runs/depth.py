"""One dial for a GPT: the number of its layers says how wide it is and how it is trained.

The rules and where they come from: docs/decisions/502-one-dial.md.
"""

from dataclasses import replace

from whence.errors import WhenceError
from whence.models import GPTConfig
from whence.runs.recipe import Recipe
from whence.train.optimizers import AdamWConfig, MuonConfig

PER_HEAD = 48  # width of a head, as in the usual recipe
USUAL = 4  # the depth of the usual recipe, whose rates and batch were searched for
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022


def deep(recipe: Recipe, depth: int) -> Recipe:
    """Return a recipe for a GPT of so many layers: width, heads, batch, rates and steps follow.

    width = 48·depth, in heads of 48; rates of embedding and head fall as 1/√width, those of AdamW's
    matrices as 1/width (Muon's are the same at any width); a batch grows with the depth; and the
    steps are as many as read 20 tokens for each weight of the blocks.

    Args:
        recipe: what isn't a matter of size, such as the form of the GPT and the optimizer's kind.
        depth: how many layers, 1 to 200.

    Raises:
        WhenceError: where the model isn't a GPT, or the depth is out of range.

    Example:
        >>> deep(Recipe(), 8).model.d_model, deep(Recipe(), 8).batch_size
        (384, 16)
        >>> deep(Recipe(), 4).optimizer == Recipe().optimizer
        True
    """
    model = recipe.model
    if type(model) is not GPTConfig:
        raise WhenceError("--depth is for GPTs: give other models their sizes by --model flags.")
    if not 1 <= depth <= 200:
        raise WhenceError(f"--depth is {depth}: give 1 to 200 layers.")
    wide = depth / USUAL
    groups = model.n_kv_heads and max(1, depth * model.n_kv_heads // model.n_heads)
    model = replace(
        model,
        n_layers=depth,
        n_heads=depth,
        n_kv_heads=groups if groups and depth % groups == 0 else None,
        d_model=PER_HEAD * depth,
    )
    batch_size = max(2, round(8 * wide / 2) * 2)
    weights = 12 * depth * (PER_HEAD * depth) ** 2
    steps = max(100, round(TOKENS_PER_PARAMETER * weights / (batch_size * model.context_length)))
    optimizer = recipe.optimizer
    if isinstance(optimizer, MuonConfig):
        optimizer = replace(
            optimizer,
            embedding_rate=optimizer.embedding_rate / wide**0.5,
            head_rate=optimizer.head_rate / wide**0.5,
        )
    elif isinstance(optimizer, AdamWConfig):
        rate = optimizer.learning_rate
        optimizer = replace(
            optimizer,
            learning_rate=rate / wide,
            embedding_rate=rate / wide**0.5,
            head_rate=rate / wide**0.5,
        )
    return replace(recipe, model=model, optimizer=optimizer, batch_size=batch_size, steps=steps)
