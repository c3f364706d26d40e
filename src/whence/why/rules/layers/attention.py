"""Scaled dot-product attention: the fused kernel opened into scores, weights and weighted values.

    s[i,j] = scale·Σ_d q[i,d]·k[j,d] + mask,   p = softmax(s),   y[i] = Σⱼ p[i,j]·v[j]

The kernel keeps neither s nor p: they are recomputed in float64, one head of one example at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import column, column_values, coordinates, position
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule

NOTE = "scores and weights are recomputed: the fused kernel keeps neither"
_KEPT = 4  # heads whose scores are kept at hand


@dataclass(slots=True)
class Head:
    """One head of one example, in float64.

    Attributes:
        q: [T, d], and so k and v with [S, d].
        scores: s [T, S].
        weights: p [T, S].
        error: relative error that the kernel's own weights may have, [T, 1].
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    error: np.ndarray


class Attention:
    """One fused attention, its heads worked out on demand."""

    def __init__(self, call: Call):
        self.call = call
        self.q, self.k, self.v = call["query"], call["key"], call["value"]
        B, H, T, d = self.q.size
        S = self.k.size[2]
        self.scores_size = (B, H, T, S)
        scale = call.get("scale")
        self.scale = 1 / math.sqrt(d) if scale is None else float(scale)
        self.unit = UNIT[torch.float32] if self.q.dtype != torch.float64 else UNIT[torch.float64]
        # In the narrower types, the weights are rounded before they meet the values.
        self.rounding = UNIT[self.q.dtype] if UNIT[self.q.dtype] > self.unit else 0.0
        self._heads: dict[tuple[int, int], Head] = {}
        self.scores = Recomputed(
            "scores", self.scores_size, call, self._scores, self.open_scores, 0.25
        )
        self.weights = Recomputed(
            "weights", self.scores_size, call, self._weights, self.open_weights, 0.5
        )

    @classmethod
    def of(cls, call: Call) -> Attention:
        """Return the one `Attention` of a call's operation."""
        return call.op.remember("attention", lambda: cls(call))

    def group(self, h: int | np.ndarray) -> int | np.ndarray:
        """Which key and value a head uses: several heads may share one."""
        return h * self.k.size[1] // self.q.size[1]

    def head(self, b: int, h: int) -> Head:
        """Work one head out, or take it from those at hand."""
        found = self._heads.pop((b, h), None)
        if found is None:
            g = self.group(h)
            q, k, v = (
                x.tensor()[b, i].double().numpy(force=True)
                for x, i in ((self.q, h), (self.k, g), (self.v, g))
            )
            mask = self._mask(b, h)
            scores = self.scale * q @ k.T + mask
            if self.call["is_causal"]:  # what lies ahead is overwritten, also where it is NaN
                ahead = np.triu_indices(len(q), 1, len(k))
                scores[ahead] = -math.inf
            top = scores.max(1, keepdims=True)
            powers = np.exp(scores - np.where(top == -math.inf, 0.0, top))
            total = powers.sum(1, keepdims=True)
            weights = powers / np.where(total == 0, 1.0, total)
            size = np.where(mask == -math.inf, 0.0, self.scale * np.abs(q) @ np.abs(k).T)
            d = q.shape[1]
            rounds = (min(d, 6 * math.sqrt(d)) + 6) * size.max(1, keepdims=True)
            # In the narrower types the kernel's exponential is a shorter polynomial.
            error = self.unit * (2 * rounds + 64) + self.rounding / 32
            found = Head(q, k, v, scores, weights, error)
        while len(self._heads) >= _KEPT:
            self._heads.pop(next(iter(self._heads)))
        self._heads[b, h] = found
        return found

    def _mask(self, b: int, h: int) -> np.ndarray:
        _, _, T, S = self.scores_size
        mask = np.zeros((T, S))
        given: Ref | None = self.call.get("attn_mask")
        if given is not None:
            whole = (
                given.tensor().double()
                if given.dtype != torch.bool
                else torch.where(given.tensor(), 0.0, -math.inf)
            )
            mask += torch.broadcast_to(whole, self.scores_size)[b, h].double().numpy(force=True)
        if self.call["is_causal"]:
            mask[np.triu_indices(T, 1, S)] = -math.inf
        return mask

    def each(self, at: Index, size: tuple[int, ...]) -> list[tuple[int, int, np.ndarray]]:
        """Group positions of a [B, H, …] tensor by head: (b, h, which of `at`)."""
        b, h = coordinates(at, size)[:2]
        heads, which = np.unique(b * size[1] + h, return_inverse=True)
        return [
            (int(n // size[1]), int(n % size[1]), np.flatnonzero(which == i))
            for i, n in enumerate(heads)
        ]

    def _read(self, at: Index, name: str) -> np.ndarray:
        values = np.empty(len(at))
        _, _, i, j = coordinates(at, self.scores_size)
        for b, h, some in self.each(at, self.scores_size):
            values[some] = getattr(self.head(b, h), name)[i[some], j[some]]
        return values

    def _scores(self, at: Index) -> np.ndarray:
        return self._read(at, "scores")

    def _weights(self, at: Index) -> np.ndarray:
        return self._read(at, "weights")

    def open_scores(self, at: Index) -> Opened:
        """Open scale·Σ_d q[i,d]·k[j,d] + mask."""
        b, h, i, j = (column(c) for c in coordinates(at, self.scores_size))
        d = np.arange(self.q.size[3]).reshape(1, -1)
        queries = Factor(self.q, position([b, h, i, d], self.q.size), "q")
        keys = Factor(self.k, position([b, self.group(h), j, d], self.k.size), "k")
        products = Part(f"{self.scale:.6g}·q[i,d]·k[j,d]", (queries, keys), self.scale)
        mask = self._scores(at) - products.terms().sum(1)
        parts = [products]
        if np.isinf(mask).any() or self.call.get("attn_mask") is not None:
            parts.append(Part("mask", value=column(np.zeros(len(at))) + mask.reshape(-1, 1)))
        return Opened("scale·Σ_d q[i,d]·k[j,d] + mask", parts, recomputed=True, notes=[NOTE])

    def open_weights(self, at: Index) -> Opened:
        """Open e^s[i,j] / Σⱼ e^s[i,j]."""
        size = self.scores_size
        b, h, i, _ = (column(c) for c in coordinates(at, size))
        j = np.arange(size[3]).reshape(1, -1)
        across = Factor(self.scores, position([b, h, i, j], self.scores_size), "s")
        mine, same = self._weights(at).reshape(-1, 1), j == column(coordinates(at, size)[3])
        part = Part(
            "e^s[i,j] / Σ e^s", value=mine, shared=(across,),
            slope=lambda: mine * (same - self._weights(across.at.reshape(-1)).reshape(len(at), -1)),
        )  # fmt: skip
        return Opened("e^s[i,j] / Σⱼ e^s[i,j]", [part], recomputed=True, notes=[NOTE])

    def errors(self, at: Index, size: tuple[int, ...]) -> np.ndarray:
        """Relative error of the weights in the row of each output element."""
        i = coordinates(at, size)[2]
        errors = np.empty(len(at))
        for b, h, some in self.each(at, size):
            errors[some] = self.head(b, h).error[i[some], 0]
        return errors


def attention(call: Call, at: Index) -> Opened:
    """Open Σⱼ p[i,j]·v[j,d], or the logarithm of the sum under p."""
    fused = Attention.of(call)
    size = call.output.size
    S = fused.scores_size[3]
    if call.slot:
        b, h, i = (column(c) for c in coordinates(at, size))
        across = Factor(
            fused.scores, position([b, h, i, np.arange(S).reshape(1, -1)], fused.scores_size)
        )
        top = across.values.max(1, keepdims=True)
        seen = ~np.isneginf(top)  # of a row that sees nothing, the kernel keeps 0
        safe = np.where(seen, top, 0.0)
        total = np.exp(across.values - safe).sum(1, keepdims=True)
        value = np.where(seen, np.log(np.where(seen, total, 1.0)) + safe, 0.0)
        # The kernel's maximum passes over NaN, so that anything may be left of a row with one.
        value = np.where(np.isnan(top), column_values(call.output.gather(at)), value)
        part = Part("ln Σⱼ e^s[i,j]", value=value, shared=(across,))
        slack = fused.errors(at, (*size, 1)) + fused.unit * 2 * np.abs(value[:, 0])
        return Opened("ln Σⱼ e^s[i,j]", [part], absolute=slack, recomputed=True, notes=[NOTE])
    b, h, i, d = (column(c) for c in coordinates(at, size))
    j = np.arange(S).reshape(1, -1)
    values = Factor(fused.v, position([b, fused.group(h), j, d], fused.v.size), "v")
    weights = Factor(fused.weights, position([b, h, i, j], fused.scores_size), "p")
    # Keys ahead are left out a block at a time: of those in the same block, 0·NaN is added.
    seen = np.isfinite(values.values) | (weights.values != 0)
    skipped = ~seen & np.isfinite(column_values(call.output.gather(at)))
    valid = None if seen.all() else ~skipped
    part = Part("p[i,j]·v[j,d]", (values, weights), valid=valid)
    return Opened(
        "Σⱼ p[i,j]·v[j,d]",
        [part],
        roundings=4,
        inner=fused.errors(at, size) + 2 * fused.rounding,
        recomputed=True,
        notes=[NOTE],
    )


RULES: dict[str, Rule] = {"_scaled_dot_product_flash_attention_for_cpu": attention}

SCHEMAS = {
    "_scaled_dot_product_flash_attention_for_cpu": (
        "(Tensor query, Tensor key, Tensor value, float dropout_p=0., bool is_causal=False, *, "
        "Tensor? attn_mask=None, float? scale=None) -> (Tensor output, Tensor logsumexp)"
    ),
}
