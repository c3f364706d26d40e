"""Networks that learn what things are like: by pairs, codes and densities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, trained


def _vae() -> Step:
    encode, decode = nn.Linear(6, 4), nn.Linear(2, 6)
    model, x = nn.ModuleList([encode, decode]), torch.rand(5, 6)

    def loss() -> Tensor:
        mean, log = encode(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log / 2).exp()
        back = F.binary_cross_entropy_with_logits(decode(z), x, reduction="sum")
        return back - 0.5 * (1 + log - mean**2 - log.exp()).sum()

    return trained(model, loss)


def _vq() -> Step:
    encode, codes = nn.Linear(6, 4), nn.Embedding(5, 4)
    model, x = nn.ModuleList([encode, codes]), torch.randn(5, 6)

    def loss() -> Tensor:
        z = encode(x)
        near = codes(torch.cdist(z, codes.weight).argmin(1))
        through = z + (near - z).detach()
        return (
            through.square().mean()
            + F.mse_loss(near, z.detach())
            + 0.25 * F.mse_loss(z, near.detach())
        )

    return trained(model, loss)


def _siamese() -> Step:
    model, a, b, c = nn.Linear(4, 3), *torch.randn(3, 5, 4)
    return trained(model, lambda: F.triplet_margin_loss(model(a), model(b), model(c)))


def _clip() -> Step:
    image, text, scale = nn.Conv2d(1, 4, 4), nn.EmbeddingBag(9, 4), nn.Parameter(torch.tensor(2.0))
    model = nn.ModuleList([image, text])
    x, ids = torch.randn(3, 1, 4, 4), torch.randint(0, 9, (3, 5))
    moving = torch.optim.AdamW([*model.parameters(), scale])

    def loss() -> Tensor:
        a, b = F.normalize(image(x).flatten(1), dim=1), F.normalize(text(ids), dim=1)
        scores = scale.exp() * a @ b.T
        same = torch.arange(3)
        return F.cross_entropy(scores, same) + F.cross_entropy(scores.T, same)

    return trained(model, loss, moving)


def _momentum_contrast() -> Step:
    model, slow = nn.Linear(4, 3), nn.Linear(4, 3)
    x, queue = torch.randn(5, 4), F.normalize(torch.randn(6, 3), dim=1)

    def loss() -> Tensor:
        q = F.normalize(model(x), dim=1)
        with torch.no_grad():
            for a, b in zip(slow.parameters(), model.parameters(), strict=True):
                a.mul_(0.9).add_(b, alpha=0.1)
            k = F.normalize(slow(x + 0.1), dim=1)
        scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.2
        return F.cross_entropy(scores, torch.zeros(5, dtype=torch.long))

    return trained(model, loss)


def _gaussian_process() -> Step:
    model = nn.ParameterDict({"length": torch.tensor(0.0), "noise": torch.tensor(-1.0)})
    x, y = torch.randn(6, 2), torch.randn(6)

    def loss() -> Tensor:
        kernel = (-torch.cdist(x, x).square() / (2 * model["length"].exp())).exp()
        root = torch.linalg.cholesky(kernel + model["noise"].exp() * torch.eye(6))
        seen = torch.cholesky_solve(y[:, None], root)[:, 0]
        return 0.5 * y @ seen + root.diagonal().log().sum()

    return trained(model, loss)


def _flow() -> Step:
    scale, shift = nn.Linear(2, 2), nn.Linear(2, 2)
    model, x = nn.ModuleList([scale, shift]), torch.randn(6, 4)

    def loss() -> Tensor:
        a, b = x.chunk(2, 1)
        log = scale(a).tanh()
        z = torch.cat([a, b * log.exp() + shift(a)], 1)
        return (0.5 * z.square().sum(1) - log.sum(1)).mean()

    return trained(model, loss)


def _recommender() -> Step:
    user, item = nn.Embedding(5, 3), nn.Embedding(6, 3)
    model = nn.ModuleList([user, item])
    a, b, c = torch.randint(0, 5, (4,)), torch.randint(0, 6, (4,)), torch.randint(0, 6, (4,))
    return trained(model, lambda: -F.logsigmoid((user(a) * (item(b) - item(c))).sum(1)).mean())


def _skip_gram() -> Step:
    into, out = nn.Embedding(9, 4), nn.Embedding(9, 4)
    model = nn.ModuleList([into, out])
    a, b, bad = torch.randint(0, 9, (5,)), torch.randint(0, 9, (5,)), torch.randint(0, 9, (5, 3))

    def loss() -> Tensor:
        v = into(a)
        good = F.logsigmoid((v * out(b)).sum(1))
        return -(good + F.logsigmoid(-(out(bad) @ v[:, :, None])[..., 0]).sum(1)).mean()

    return trained(model, loss)


KINDS: dict[str, Kind] = {
    "variational autoencoder": _vae,
    "vector-quantised": _vq,
    "siamese": _siamese,
    "CLIP": _clip,
    "momentum contrast": _momentum_contrast,
    "Gaussian process": _gaussian_process,
    "normalising flow": _flow,
    "recommender": _recommender,
    "skip-gram": _skip_gram,
}
