"""How a watched loop trains: its kind, optimizer, vocabulary and window, read off its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whence.doctor.evidence import Evidence, Setup
from whence.watch.again.redo import Redo
from whence.watch.step.events import Step

WINDOWS = ("context_length", "max_position_embeddings", "n_positions", "block_size")


def inputs_of(step: Step) -> np.ndarray | None:
    """What a step's calls read, an example a row."""
    rows = []
    for call in step.calls:
        value = next(
            (v for v in (*call.args, *call.kwargs.values()) if isinstance(v, Tensor)), None
        )
        if value is not None and value.ndim >= 1:
            whole = value.detach().reshape(len(value), -1)
            whole = whole.float() if whole.is_floating_point() else whole  # NumPy has no bfloat16
            rows.append(whole.numpy(force=True))
    widths = {r.shape[1] for r in rows}
    return np.concatenate(rows) if len(widths) == 1 else (rows[0] if rows else None)


def vocabulary_used(steps: list[Step], vocab_size: int) -> float:
    """The share of the vocabulary that the steps read; NaN: unknown."""
    ids = [
        v.reshape(-1)
        for step in steps
        for call in step.calls
        for v in (*call.args, *call.kwargs.values())
        if isinstance(v, Tensor) and v.dtype == torch.int64 and v.ndim == 2
    ]
    if not ids or not vocab_size:
        return float("nan")
    seen = torch.cat(ids)
    return len(seen[(seen >= 0) & (seen < vocab_size)].unique()) / vocab_size


def setup_of(found: Evidence, redone: Redo | None, steps: list[Step]) -> Setup:
    """What is known of how a watched loop trains."""
    setup = Setup()
    setup.has_attention = any(m.readings for m in found.measured)
    p = next((m.predicted for m in found.measured if m.predicted is not None), None)
    if p is not None and p.known:
        setup.kind = "tokens" if p.tokens is not None else "classes"
    if redone is None:
        return setup
    optimizers = redone.world.optimizers
    setup.optimizer = ", ".join(type(o).__name__ for o in optimizers)
    setup.adaptive = any("Adam" in type(o).__name__ for o in optimizers)
    updates = [u for step in steps for u in step.updates]
    if updates:
        group = updates[-1].settings[0]
        setup.rate = float(group.get("initial_lr", group.get("lr", float("nan"))))
        setup.scheduled = "initial_lr" in group
    for model in redone.copies.models.values():
        tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
        if tables:
            setup.vocab_size = tables[0].num_embeddings
        config = getattr(model, "config", None)
        setup.window = next(
            (int(w) for n in WINDOWS if isinstance(w := getattr(config, n, None), int)), 0
        )
        _ties(setup, model, config)
    return setup


def _ties(setup: Setup, model: nn.Module, config: Any) -> None:
    asked = getattr(config, "tie_word_embeddings", getattr(config, "tied_embeddings", False))
    if not asked:
        return
    try:
        theirs: Any = model  # transformers' models have these two
        given, taken = theirs.get_input_embeddings(), theirs.get_output_embeddings()
    except (AttributeError, NotImplementedError):  # others, and those without embeddings
        given, taken = getattr(model, "embed", None), getattr(model, "head", None)
    if given is not None and taken is not None:
        setup.tied_asked, setup.tied = True, given.weight is taken.weight
