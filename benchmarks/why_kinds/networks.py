"""Networks for text, sound, graphs, choices and measurements, built from torch.nn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, Step, classify, trained


def _mlp() -> Step:
    return classify(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)), 6, 5)


def _wavenet() -> Step:
    first, gate, out = (
        nn.Conv1d(1, 4, 2, dilation=2),
        nn.Conv1d(1, 4, 2, dilation=2),
        nn.Conv1d(4, 3, 1),
    )
    model, x = nn.ModuleList([first, gate, out]), torch.randn(2, 1, 10)
    y = torch.randint(0, 3, (2, 8))
    return trained(model, lambda: F.cross_entropy(out(first(x).tanh() * gate(x).sigmoid()), y))


def _speech() -> Step:
    model = nn.Sequential(
        nn.Conv1d(5, 8, 3, padding=1), nn.GLU(dim=1), nn.BatchNorm1d(4), nn.Conv1d(4, 4, 1)
    )
    x, y = torch.randn(2, 5, 9), torch.randint(1, 4, (2, 3))
    lengths = torch.tensor([9, 9]), torch.tensor([3, 2])
    return trained(
        model, lambda: F.ctc_loss(model(x).permute(2, 0, 1).log_softmax(-1), y, *lengths)
    )


def _spectrogram() -> Step:
    model, x = nn.Conv1d(1, 1, 5, padding=2), torch.randn(2, 1, 32)
    window = torch.hann_window(16)

    def loss() -> Tensor:
        out = torch.stft(model(x)[:, 0], 16, 8, window=window, return_complex=True)
        return (out.abs() + 1e-3).log().abs().mean()

    return trained(model, loss)


def _graph() -> Step:
    first, second = nn.Linear(4, 6), nn.Linear(6, 3)
    model, x, y = nn.ModuleList([first, second]), torch.randn(5, 4), torch.randint(0, 3, (5,))
    near = (torch.rand(5, 5) > 0.5).float() + torch.eye(5)
    near = near / near.sum(1, keepdim=True)
    return trained(model, lambda: F.cross_entropy(near @ second(F.relu(near @ first(x))), y))


def _graph_attention() -> Step:
    embed, score = nn.Linear(4, 6), nn.Linear(12, 1)
    model, x = nn.ModuleList([embed, score]), torch.randn(5, 4)
    source, target = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1, 2, 3, 4, 0, 2])

    def loss() -> Tensor:
        h = embed(x)
        e = F.leaky_relu(score(torch.cat([h[source], h[target]], 1)))[:, 0].exp()
        total = torch.zeros(5).scatter_add(0, target, e)
        return (
            torch.zeros(5, 6)
            .index_add(0, target, (e / total[target])[:, None] * h[source])
            .square()
            .mean()
        )

    return trained(model, loss)


def _points() -> Step:
    first, second = nn.Conv1d(3, 6, 1), nn.Linear(6, 3)
    model, x, y = nn.ModuleList([first, second]), torch.randn(4, 3, 8), torch.randint(0, 3, (4,))
    return trained(model, lambda: F.cross_entropy(second(F.relu(first(x)).max(2).values), y))


def _policy() -> Step:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(6, 4)
    gain = torch.randn(6)

    def loss() -> Tensor:
        chosen = torch.distributions.Categorical(logits=model(x))
        action = chosen.sample()
        return -(chosen.log_prob(action) * gain).mean() - 0.01 * chosen.entropy().mean()

    return trained(model, loss)


def _q_learning() -> Step:
    model, slow = nn.Linear(4, 3), nn.Linear(4, 3)
    x, after, a, r = (
        torch.randn(6, 4),
        torch.randn(6, 4),
        torch.randint(0, 3, (6, 1)),
        torch.randn(6),
    )

    def loss() -> Tensor:
        with torch.no_grad():
            goal = r + 0.9 * slow(after).max(1).values
        return F.smooth_l1_loss(model(x).gather(1, a)[:, 0], goal)

    return trained(model, loss)


def _actor_critic() -> Step:
    actor, critic = nn.Linear(4, 4), nn.Linear(6, 1)
    model, x = nn.ModuleList([actor, critic]), torch.randn(6, 4)

    def loss() -> Tensor:
        mean, log = actor(x).chunk(2, 1)
        chosen = torch.distributions.Normal(mean, log.clamp(-5, 2).exp())
        raw = chosen.rsample()
        action = raw.tanh()
        size = chosen.log_prob(raw) - torch.log(1 - action**2 + 1e-6)
        return (0.2 * size.sum(1) - critic(torch.cat([x, action], 1))[:, 0]).mean()

    return trained(model, loss)


def _experts() -> Step:
    route = nn.Linear(4, 3)
    experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    model, x = nn.ModuleList([route, experts]), torch.randn(6, 4)

    def loss() -> Tensor:
        weight, chosen = route(x).softmax(-1).topk(2)
        out = torch.zeros_like(x)
        for i, expert in enumerate(experts):
            row, place = (chosen == i).nonzero(as_tuple=True)
            out = out.index_add(0, row, weight[row, place, None] * expert(x[row]))
        return out.square().mean()

    return trained(model, loss)


def _seq2seq() -> Step:
    encode, decode, head = nn.LSTM(4, 5, batch_first=True), nn.LSTMCell(4, 5), nn.Linear(5, 4)
    model, x, y = nn.ModuleList([encode, decode, head]), torch.randn(2, 4, 4), torch.randn(2, 3, 4)

    def loss() -> Tensor:
        memory, (h, c) = encode(x)
        h, c, total = h[0], c[0], torch.zeros(())
        for t in range(3):
            h, c = decode(y[:, t], (h, c))
            seen = (memory @ h[:, :, None]).softmax(1)
            total = total + F.mse_loss(head(h + (seen * memory).sum(1)), y[:, t])
        return total

    return trained(model, loss)


def _implicit() -> Step:
    model, x = (
        nn.Sequential(nn.Linear(2, 8), nn.Softplus(beta=5), nn.Linear(8, 1)),
        torch.randn(6, 2),
    )
    x.requires_grad_()

    def loss() -> Tensor:
        y = model(x)
        (normal,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y.abs().mean() + (normal.norm(dim=1) - 1).square().mean()

    return trained(model, loss)


def _radiance() -> Step:
    model, x = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)), torch.rand(5, 6, 3)

    def loss() -> Tensor:
        wide = torch.cat([(x * f).sin() for f in (1, 2)] + [(x * f).cos() for f in (1, 2)], -1)
        out = model(wide)
        alpha = 1 - (-F.relu(out[..., 3]) * 0.1).exp()
        passed = (1 - alpha + 1e-10).cumprod(1).roll(1, 1)
        return ((alpha * passed)[..., None] * out[..., :3].sigmoid()).sum(1).square().mean()

    return trained(model, loss)


def _ode() -> Step:
    model, x = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(4, 2)

    def loss() -> Tensor:
        y = x
        for _ in range(2):
            k1 = model(y)
            k2 = model(y + 0.05 * k1)
            y = y + 0.1 * k2
        return y.square().mean()

    return trained(model, loss)


def _forecast() -> Step:
    rnn, head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 3)
    model, x, y = nn.ModuleList([rnn, head]), torch.randn(3, 6, 2), torch.randn(3, 1)
    q = torch.tensor([0.1, 0.5, 0.9])

    def loss() -> Tensor:
        off = y - head(rnn(x)[0][:, -1])
        return torch.maximum(q * off, (q - 1) * off).mean()

    return trained(model, loss)


KINDS: dict[str, Kind] = {
    "MLP with dropout": _mlp,
    "WaveNet": _wavenet,
    "speech by CTC": _speech,
    "spectrogram": _spectrogram,
    "graph convolution": _graph,
    "graph attention": _graph_attention,
    "points": _points,
    "policy gradient": _policy,
    "Q-learning": _q_learning,
    "actor and critic": _actor_critic,
    "mixture of experts": _experts,
    "sequence to sequence": _seq2seq,
    "signed distance": _implicit,
    "radiance field": _radiance,
    "neural ODE": _ode,
    "forecast of quantiles": _forecast,
}
