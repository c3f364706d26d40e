"""Recurrent layers and attention of torch.nn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, applied, draw, function, layer


def _rnn(kind: type[nn.RNNBase], **options: Any) -> Kind:
    return lambda: layer(kind(3, 4, **options), draw(5, 2, 3))


def _cell(kind: type[nn.RNNCellBase]) -> Kind:
    def make() -> Step:
        cell: Any = kind(3, 4)

        def run(x: Tensor) -> Tensor:
            state = None
            for t in range(3):
                state = cell(x[t], state)
            assert state is not None
            return state[0] if isinstance(state, tuple) else state

        return function(run, draw(3, 2, 3))

    return make


def _heads(batch: bool = True, **options: Any) -> Kind:
    def make() -> Step:
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        return function(lambda x: attention(x, x, x, **options)[0], draw(2, 5, 8))

    return make


def _sdpa(mask: Any = None, **options: Any) -> Kind:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        given = None if mask is None else mask()
        return F.scaled_dot_product_attention(q, k, v, given, **options)

    return applied(attend, (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4))


def _padding_rows() -> Tensor:
    seen = torch.ones(5, 5, dtype=torch.bool).tril().repeat(2, 1, 1, 1)
    seen[1, :, :2] = False  # rows that may see nothing
    return seen


def _sliding() -> Tensor:
    return torch.ones(5, 5, dtype=torch.bool).tril().triu(-2)


def _bias(q: Tensor, k: Tensor, v: Tensor, b: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, b)


def _linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state = (k[..., :, None] * v[..., None, :]).cumsum(1)
    return (q[..., None, :] @ state)[..., 0, :] / (q * k.cumsum(1)).sum(-1, keepdim=True)


def _transformer(make: Any, *shapes: tuple[int, ...], mode: bool = True, **options: Any) -> Kind:
    settings = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True} | options
    return lambda: layer(make(**settings).train(mode), *(draw(*s) for s in shapes))


def _encoder(**options: Any) -> nn.Module:
    inner = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    return nn.TransformerEncoder(inner, 2, enable_nested_tensor=False)


def _padded_encoder() -> Step:
    encoder, x = _encoder(dropout=0.0), draw(2, 5, 8)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    return function(lambda x: encoder(x, src_key_padding_mask=hidden), x)


KINDS: dict[str, Kind] = {
    "RNN": _rnn(nn.RNN),
    "RNN, ReLU": _rnn(nn.RNN, nonlinearity="relu", num_layers=2),
    "LSTM": _rnn(nn.LSTM),
    "LSTM, two layers, dropout": _rnn(nn.LSTM, num_layers=2, dropout=0.2),
    "LSTM, both ways": _rnn(nn.LSTM, bidirectional=True),
    "LSTM, projected": _rnn(nn.LSTM, proj_size=2),
    "GRU": _rnn(nn.GRU),
    "GRU, both ways": _rnn(nn.GRU, bidirectional=True, num_layers=2),
    "RNNCell": _cell(nn.RNNCell),
    "LSTMCell": _cell(nn.LSTMCell),
    "GRUCell": _cell(nn.GRUCell),
    "MultiheadAttention": _heads(),
    "MultiheadAttention, no weights": _heads(need_weights=False),
    "MultiheadAttention, padding": _heads(
        key_padding_mask=torch.tensor([[False] * 5, [False] * 4 + [True]])
    ),
    "attention, fused": _sdpa(),
    "attention, causal": _sdpa(is_causal=True),
    "attention, scaled": _sdpa(scale=0.3),
    "attention, dropout": _sdpa(dropout_p=0.3),
    "attention, sliding window": _sdpa(_sliding),
    "attention, rows that see nothing": _sdpa(_padding_rows),
    "attention, biased": applied(_bias, (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 5)),
    "attention, grouped": applied(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True),
        (2, 4, 5, 4),
        (2, 2, 5, 4),
        (2, 2, 5, 4),
    ),
    "attention, linear": applied(_linear_attention, (2, 5, 4), (2, 5, 4), (2, 5, 3)),
    "TransformerEncoderLayer": _transformer(nn.TransformerEncoderLayer, (2, 5, 8), dropout=0.0),
    "TransformerEncoderLayer, dropout": _transformer(nn.TransformerEncoderLayer, (2, 5, 8)),
    "TransformerEncoderLayer, GELU, norm first": _transformer(
        nn.TransformerEncoderLayer, (2, 5, 8), activation="gelu", norm_first=True
    ),
    "TransformerEncoderLayer, evaluation": _transformer(
        nn.TransformerEncoderLayer, (2, 5, 8), mode=False
    ),
    "TransformerDecoderLayer": _transformer(nn.TransformerDecoderLayer, (2, 5, 8), (2, 4, 8)),
    "TransformerEncoder, padding": _padded_encoder,
    "Transformer": _transformer(
        nn.Transformer, (2, 5, 8), (2, 4, 8), num_encoder_layers=1, num_decoder_layers=1
    ),
}
