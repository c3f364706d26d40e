"""The backward pass of fused attention, opened into the gradients of scores and weights."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import column, coordinates, position
from whence.why.rules.layers.attention import NOTE, Attention
from whence.why.rules.opening import Factor, Opened, Part, Rule


class AttentionGradient:
    """The backward pass of one fused attention.

    dp = g·vᵀ,   ds = p·(dp − Σ_d g·y),   dq = scale·ds·k,   dk = scale·dsᵀ·q,   dv = pᵀ·g
    """

    def __init__(self, call: Call):
        self.call, self.forward = call, Attention(call)
        self.g, self.y = call["grad_out"], call["out"]
        size = self.forward.scores_size
        self.scores = Recomputed("scores.grad", size, call, self._scores, self.open_scores, 0.5)
        self.weights = Recomputed(
            "weights.grad", size, call, self._weights, self.open_weights, 0.25
        )

    @classmethod
    def of(cls, call: Call) -> AttentionGradient:
        """Return the one `AttentionGradient` of a call's operation."""
        return call.op.remember("gradient", lambda: cls(call))

    def head(self, b: int, h: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dp and ds of one head, and how far rounding may take ds."""
        head = self.forward.head(b, h)
        g, y = (x.tensor()[b, h].double().numpy(force=True) for x in (self.g, self.y))
        dp = g @ head.v.T
        shared = (g * y).sum(1, keepdims=True)
        ds = head.weights * (dp - shared)
        d = g.shape[1]
        rounds = (min(d, 6 * math.sqrt(d)) + 4) * self.forward.unit
        size = np.abs(g) @ np.abs(head.v).T + np.abs(g * y).sum(1, keepdims=True)
        error = head.weights * size * rounds + np.abs(ds) * (head.error + self.forward.rounding)
        return dp, ds, error

    def _read(self, at: Index, which: int) -> np.ndarray:
        values = np.empty(len(at))
        size = self.forward.scores_size
        _, _, i, j = coordinates(at, size)
        for b, h, some in self.forward.each(at, size):
            values[some] = self.head(b, h)[which][i[some], j[some]]
        return values

    def _weights(self, at: Index) -> np.ndarray:
        return self._read(at, 0)

    def _scores(self, at: Index) -> np.ndarray:
        return self._read(at, 1)

    def errors(self, at: Index) -> np.ndarray:
        """How far rounding may take each element of ds."""
        return self._read(at.reshape(-1), 2).reshape(at.shape)

    def open_weights(self, at: Index) -> Opened:
        """Open dp[i,j] = Σ_d g[i,d]·v[j,d]."""
        fused = self.forward
        b, h, i, j = (column(c) for c in coordinates(at, fused.scores_size))
        d = np.arange(self.g.size[3]).reshape(1, -1)
        arriving = Factor(self.g, position([b, h, i, d], self.g.size), "g")
        values = Factor(fused.v, position([b, fused.group(h), j, d], fused.v.size))
        part = Part("g[i,d]·v[j,d]", (arriving, values))
        return Opened("Σ_d g[i,d]·v[j,d]", [part], recomputed=True, notes=[NOTE])

    def open_scores(self, at: Index) -> Opened:
        """Open ds[i,j] = Σ_d p[i,j]·(v[j,d] − y[i,d])·g[i,d]."""
        fused = self.forward
        b, h, i, j = (column(c) for c in coordinates(at, fused.scores_size))
        d = np.arange(self.g.size[3]).reshape(1, -1)
        arriving = Factor(self.g, position([b, h, i, d], self.g.size), "g")
        weight = Factor(fused.weights, column(at), "p")
        value = Factor(fused.v, position([b, fused.group(h), j, d], fused.v.size), "v")
        output = Factor(self.y, position([b, h, i, d], self.y.size), "y")
        coefficient = weight.values * (value.values - output.values)
        shared = (weight, value, output)
        part = Part("p[i,j]·(v[j,d] − y[i,d])·g[i,d]", (arriving,), coefficient, shared)
        return Opened("p[i,j]·Σ_d g[i,d]·(v[j,d] − y[i,d])", [part], recomputed=True, notes=[NOTE])


def attention_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of the queries, keys or values."""
    back = AttentionGradient.of(call)
    fused, size = back.forward, call.output.size
    b, h, i, d = (column(c) for c in coordinates(at, size))
    _, _, T, S = fused.scores_size
    if call.slot == 0:
        j = np.arange(S).reshape(1, -1)
        slopes = Factor(back.scores, position([b, h, i, j], fused.scores_size), "ds")
        others = Factor(fused.k, position([b, fused.group(h), j, d], fused.k.size), "k")
        words, symbol = "scale·Σⱼ ds[i,j]·k[j,d]", f"{fused.scale:.6g}·ds[i,j]·k[j,d]"
    else:
        # A key serves every head of its group: the sum runs over those heads' queries.
        share = fused.q.size[1] // size[1]
        heads = h * share + np.repeat(np.arange(share), T).reshape(1, -1)
        rows = np.tile(np.arange(T), share).reshape(1, -1)
        if call.slot == 2:
            return _values_gradient(back, b, heads, rows, i, d)
        slopes = Factor(back.scores, position([b, heads, rows, i], fused.scores_size), "ds")
        others = Factor(fused.q, position([b, heads, rows, d], fused.q.size), "q")
        words, symbol = "scale·Σᵢ ds[i,j]·q[i,d]", f"{fused.scale:.6g}·ds[i,j]·q[i,d]"
    errors = back.errors(np.asarray(slopes.at))
    slack = fused.scale * (errors * np.abs(others.values)).sum(1)
    part = Part(symbol, (slopes, others), fused.scale)
    return Opened(words, [part], 4, absolute=slack, recomputed=True, notes=[NOTE])


def _values_gradient(
    back: AttentionGradient, b: Index, heads: Index, rows: Index, j: Index, d: Index
) -> Opened:
    fused = back.forward
    weights = Factor(fused.weights, position([b, heads, rows, j], fused.scores_size), "p")
    arriving = Factor(back.g, position([b, heads, rows, d], back.g.size), "g")
    worst = np.array([[fused.head(int(x), int(y)).error.max() for y in row] for x, row in zip(
        b[:, 0], np.broadcast_to(heads, (len(b), heads.shape[1]))[:, :: rows.shape[1]], strict=True
    )]).max(1)  # fmt: skip
    part = Part("p[i,j]·g[i,d]", (arriving, weights))
    return Opened(
        "Σᵢ p[i,j]·g[i,d]", [part], 4, inner=worst + 2 * fused.rounding, recomputed=True,
        notes=[NOTE],
    )  # fmt: skip


RULES: dict[str, Rule] = {
    "_scaled_dot_product_flash_attention_for_cpu_backward": attention_backward
}

SCHEMAS = {
    "_scaled_dot_product_flash_attention_for_cpu_backward": (
        "(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor logsumexp, "
        "float dropout_p, bool is_causal, *, Tensor? attn_mask=None, float? scale=None) -> "
        "(Tensor grad_query, Tensor grad_key, Tensor grad_value)"
    ),
}
