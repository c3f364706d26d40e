"""Picking, sorting, scattering, scanning, counting, and the layout of tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, applied, draw, function, layer

_I = torch.tensor([[0, 2, 1], [3, 3, 0], [1, 0, 2], [2, 2, 3]])
_K = torch.tensor([2, 0, 2])


def _reduced(how: str, own: bool = True) -> Kind:
    return applied(
        lambda x, y: x.scatter_reduce(0, _I, y, how, include_self=own), (4, 3), (4, 3), low=0.2
    )


def _index_reduced(how: str) -> Kind:
    return applied(lambda x, y: x.index_reduce(0, _K, y, how), (4, 3), (3, 3), low=0.2)


def _bag(mode: str, **options: object) -> Step:
    bag = nn.EmbeddingBag(7, 4, mode=mode, **options)  # pyright: ignore
    return layer(bag, torch.tensor([1, 2, 4, 5, 4, 3, 2]), torch.tensor([0, 3, 4]))


def _weighted_bag() -> Step:
    bag, w = nn.EmbeddingBag(7, 4, mode="sum"), draw(7)
    ids, offsets = torch.tensor([1, 2, 4, 5, 4, 3, 2]), torch.tensor([0, 4])
    return function(lambda w: bag(ids, offsets, per_sample_weights=w), w)


def _sparse() -> Step:
    table = nn.Embedding(7, 4, sparse=True)
    optimizer, ids = torch.optim.SparseAdam(table.parameters()), torch.tensor([1, 3, 1])

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = table(ids).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _packed() -> Step:
    rnn, x = nn.GRU(3, 4, batch_first=True), draw(3, 5, 3)

    def run(x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True)[0]

    return function(run, x)


def _filled(x: Tensor) -> Tensor:
    y = x.clone()
    y[1:3, ::2] = 0.5
    y[0] = x[3]
    y[y > 1] *= 0.1
    return y


def _pooled_graph(x: Tensor) -> Tensor:
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 3]])
    messages = x[edges[0]] - x[edges[1]]
    return torch.zeros(4, 3).index_add(0, edges[1], messages).relu()


KINDS: dict[str, Kind] = {
    "index": applied(lambda x: x[_I[:, 0], _I[:, 1] % 3], (4, 3)),
    "slices": applied(lambda x: (x[1:, ::2], x[..., -1], x[:, None, 1:2]), (4, 3)),
    "masks": applied(lambda x: x[x > 0], (4, 3)),
    "masked_select": applied(lambda x: x.masked_select(x > 0), (4, 3)),
    "masked_scatter": applied(lambda x, y: x.masked_scatter(x > 0, y), (4, 3), (4, 3)),
    "masked_fill": applied(lambda x: x.masked_fill(x > 0, -1.0), (4, 3)),
    "assignment": applied(_filled, (4, 3)),
    "gather": applied(lambda x: x.gather(0, _I), (4, 3)),
    "take": applied(lambda x: x.take(_I), (4, 3)),
    "take_along_dim": applied(lambda x: x.take_along_dim(x.argsort(1), 1), (4, 3)),
    "put": applied(lambda x, y: x.put(_K, y[0], accumulate=True), (4, 3), (1, 3)),
    "scatter": applied(lambda x, y: x.scatter(0, _I[:1], y[:1]), (4, 3), (4, 3)),
    "scatter_add": applied(lambda x, y: x.scatter_add(0, _I, y), (4, 3), (4, 3)),
    "scatter_reduce, sum": _reduced("sum"),
    "scatter_reduce, mean": _reduced("mean"),
    "scatter_reduce, product": _reduced("prod"),
    "scatter_reduce, max": _reduced("amax"),
    "scatter_reduce, min": _reduced("amin", own=False),
    "index_reduce, mean": _index_reduced("mean"),
    "index_reduce, max": _index_reduced("amax"),
    "index_reduce, product": _index_reduced("prod"),
    "index_add": applied(lambda x, y: x.index_add(0, _K, y, alpha=0.5), (4, 3), (3, 3)),
    "index_copy": applied(lambda x, y: x.index_copy(0, _K[:2], y[:2]), (4, 3), (3, 3)),
    "index_fill": applied(lambda x: x.index_fill(0, _K, 0.5), (4, 3)),
    "index_select": applied(lambda x: x.index_select(0, _K), (4, 3)),
    "index_put": applied(lambda x, y: x.index_put((_K, _K), y[0], accumulate=True), (4, 3), (1, 3)),
    "select_scatter": applied(lambda x, y: x.select_scatter(y, 1, 1), (4, 3), (4,)),
    "slice_scatter": applied(lambda x, y: x.slice_scatter(y, 0, 1, 3), (4, 3), (2, 3)),
    "diagonal_scatter": applied(lambda x, y: x.diagonal_scatter(y), (4, 3), (3,)),
    "topk": applied(lambda x: x.topk(2, 1), (4, 5)),
    "sort": applied(lambda x: x.sort(1, descending=True), (4, 5)),
    "stable sort": applied(lambda x: x.sort(dim=0, stable=True), (4, 5)),
    "argsort": applied(lambda x: x * x.argsort(1), (4, 5)),
    "kthvalue": applied(lambda x: x.kthvalue(2, 1), (4, 5)),
    "median": applied(lambda x: (x.median(), x.median(1).values), (4, 5)),
    "nanmedian": applied(lambda x: x.nanmedian(1).values, (4, 5)),
    "mode": applied(lambda x: x.round().mode(1).values * x.sum(1), (4, 5)),
    "quantile": applied(lambda x: x.quantile(0.3, 1), (4, 5)),
    "max with its place": applied(lambda x: x.max(1), (4, 5)),
    "cummax": applied(lambda x: x.cummax(1), (4, 5)),
    "cummin": applied(lambda x: x.cummin(1), (4, 5)),
    "cumsum": applied(lambda x: x.cumsum(1), (4, 5)),
    "cumprod": applied(lambda x: x.cumprod(1), (4, 5)),
    "logcumsumexp": applied(lambda x: x.logcumsumexp(1), (4, 5)),
    "nonzero": applied(lambda x: x[(x > 0).nonzero(as_tuple=True)], (4, 5)),
    "unique": applied(lambda x: x.sum() * x.round().unique(return_inverse=True)[1], (4, 5)),
    "unique_consecutive": applied(
        lambda x: x.sum() * x.detach().round().unique_consecutive(), (9,)
    ),
    "bincount": applied(lambda x: torch.bincount(_I.flatten(), minlength=5) * x, (5,)),
    "histc": applied(lambda x: x.detach().histc(4, -2, 2) * x[0, 0], (4, 5)),
    "bucketize": applied(lambda x: torch.bucketize(x, torch.linspace(-1, 1, 5)) * x, (4, 5)),
    "searchsorted": applied(lambda x: torch.searchsorted(torch.linspace(-1, 1, 5), x) * x, (4,)),
    "isin": applied(lambda x: torch.isin(_I, _K) * x, (4, 3)),
    "one-hot": applied(lambda x: F.one_hot(_I[:, 0], 4).float() @ x, (4, 3)),
    "repeat_interleave": applied(
        lambda x: x.repeat_interleave(torch.tensor([2, 1, 0, 3]), 0), (4, 3)
    ),
    "repeat_interleave, a number": applied(lambda x: x.repeat_interleave(2, 1), (4, 3)),
    "tile": applied(lambda x: x.tile(2, 2), (4, 3)),
    "roll and flip": applied(lambda x: x.roll((1, 2), (0, 1)).flip(0), (4, 3)),
    "meshgrid": applied(lambda x: torch.stack(torch.meshgrid(x, x, indexing="ij")).prod(0), (4,)),
    "combinations": applied(lambda x: torch.combinations(x).prod(1), (4,)),
    "cartesian product": applied(lambda x: torch.cartesian_prod(x, x).prod(1), (4,)),
    "diagonals": applied(lambda x: (x.diag(), x.diagonal(1), x.trace(), x[0].diag_embed()), (4, 4)),
    "block_diag": applied(lambda x: torch.block_diag(x, x), (2, 3)),
    "triangles": applied(lambda x: x.tril() + x.triu(1), (4, 4)),
    "unfold": applied(lambda x: x.unfold(0, 3, 1), (8,)),
    "chunks": applied(lambda x: [c * 2 for c in x.chunk(2, 1)], (4, 6)),
    "as_strided": applied(lambda x: x.as_strided((3, 3), (1, 2)), (9,)),
    "expand and permute": applied(lambda x: x[:, None].expand(4, 2, 3).permute(2, 1, 0), (4, 3)),
    "vander": applied(lambda x: torch.vander(x.detach(), 4) * x[:, None], (4,), low=0.5),
    "Embedding": lambda: layer(nn.Embedding(7, 4), _I),
    "Embedding, padding": lambda: layer(nn.Embedding(7, 4, padding_idx=2), _I),
    "Embedding, by frequency": lambda: layer(nn.Embedding(7, 4, scale_grad_by_freq=True), _I),
    "Embedding, max_norm": lambda: layer(nn.Embedding(7, 4, max_norm=0.5), _I),
    "Embedding, sparse": _sparse,
    "EmbeddingBag, mean": lambda: _bag("mean"),
    "EmbeddingBag, sum": lambda: _bag("sum"),
    "EmbeddingBag, max": lambda: _bag("max"),
    "EmbeddingBag, padding": lambda: _bag("mean", padding_idx=4),
    "EmbeddingBag, weighted": _weighted_bag,
    "packed sequences": _packed,
    "padded sequences": applied(lambda x, y: nn.utils.rnn.pad_sequence([x, y]), (3, 2), (4, 2)),
    "messages on a graph": applied(_pooled_graph, (4, 3)),
    "segment_reduce": applied(
        lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([2, 1, 3])), (6, 2)
    ),
}
