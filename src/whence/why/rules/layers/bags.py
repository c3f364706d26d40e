"""Embedding bags, and tables whose rows are kept short."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.picks import by_slot, recounted
from whence.why.rules.forms.positions import chosen, column
from whence.why.rules.forms.rerun import computed, linear
from whence.why.rules.forms.rounding import own_unit
from whence.why.rules.opening import Factor, Opened, Part, Rule

SUM, MEAN, MAX = range(3)


def _integers(ref: Ref) -> np.ndarray:
    return ref.gather(np.arange(ref.numel)).astype(np.int64)


def _bags(call: Call) -> np.ndarray:
    """The bag of each token."""
    starts = _integers(call["offsets"])
    return np.searchsorted(starts, np.arange(call["indices"].numel), side="right") - 1


def bag_gradient(call: Call, at: Index) -> Opened:
    """Open Σ over the bags that a token lies in of g[bag, j] (/ n)."""
    gradient: Ref = call["grad"] if "grad" in call.values else call["grad_output"]
    token, j = np.divmod(at, call.output.size[1])
    tokens, bags = _integers(call["indices"]), _bags(call)
    hits = tokens == column(token)
    padding = call.get("padding_idx", -1)
    padding = -1 if padding is None else padding
    hits = hits & (tokens != padding)
    places, valid = chosen(hits)
    where = bags[places] * gradient.size[1] + column(j)
    arriving = Factor(gradient, where, "g")
    if call["mode"] == MAX:
        winner = call["maximum_indices"].gather(where.reshape(-1)).reshape(where.shape)
        first = np.cumsum(valid & (winner == column(token)), 1)
        same_bag = np.concatenate([np.zeros_like(where[:, :1], bool), np.diff(where) == 0], 1)
        valid = valid & (winner == column(token)) & ~(same_bag & (first > 1))
        return Opened(
            "Σ of g where it was the largest", [Part("g[bag, j]", (arriving,), valid=valid)]
        )
    counts: np.ndarray | float = 1.0
    shared: tuple[Factor, ...] = ()
    if call["mode"] == MEAN:
        sizes = np.bincount(bags, tokens != padding, minlength=int(bags.max(initial=0)) + 1)
        counts = 1 / np.maximum(sizes[bags[places]], 1)
    if call.get("per_sample_weights") is not None:
        weights = Factor(call["per_sample_weights"], places, "w")
        counts, shared = weights.values, (weights,)
    part = Part("g[bag, j] / n", (arriving,), counts, shared, valid=valid)
    words = "Σ over the bags with this token of g[bag, j] / n"
    return Opened(words, [part], 4, unit=own_unit(call))


def weight_gradient(call: Call, at: Index) -> Opened:
    """Open Σⱼ g[bag, j]·w[token, j], the gradient of one token's weight in its bag."""
    weight, gradient = call["weight"], call["grad"]
    j = np.arange(weight.size[1]).reshape(1, -1)
    token = column(_integers(call["indices"])[at])
    bag = column(_bags(call)[at])
    width = weight.size[1]
    factors = (Factor(gradient, bag * width + j, "g"), Factor(weight, token * width + j, "w"))
    return Opened("Σⱼ g[bag, j]·w[token, j]", [Part("g[bag,j]·w[token,j]", factors)], 2)


def _shortened(given: dict[str, Any]) -> Tensor:
    table: Tensor = given["self"]
    sizes = torch.linalg.vector_norm(table, given["norm_type"], 1, keepdim=True)
    used = torch.zeros(len(table), 1, dtype=torch.bool)
    used[given["indices"].flatten()] = True
    long = used & (sizes > given["max_norm"])
    return torch.where(long, table * (given["max_norm"] / (sizes + 1e-7)), table)


_BAG = linear("Σ over the bag of w[token, j] (/ n)", "weight", shared=("per_sample_weights",))
_LIST = recounted("how the bags lie", "indices", "offsets")

RULES: dict[str, Rule] = {
    "_embedding_bag": by_slot(_BAG, _LIST),
    "_embedding_bag_forward_only": by_slot(_BAG, _LIST),
    "_embedding_bag_backward": bag_gradient,
    "_embedding_bag_dense_backward": bag_gradient,
    "_embedding_bag_per_sample_weights_backward": weight_gradient,
    "embedding_renorm": computed(
        "w[token, j], shortened where the row's norm is too large", "self", formula=_shortened
    ),
}
