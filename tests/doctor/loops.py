"""Small loops in plain PyTorch, each with one fault to switch on."""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn

from whence.watch import watch

V, T = 17, 12
PAD = V - 1
MIDDLE = 23  # the step at which a fault of the second half begins
SCHEDULES = {
    "rate ends": lambda step: float(step < MIDDLE),
    "warm-up of 1,000": lambda step: (step + 1) / 1000,
}


class Attention(nn.Module):
    """One head set of the textbook, with places where it can be broken."""

    def __init__(self, d, heads, fault):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.heads, self.fault = heads, fault

    def forward(self, x):
        B, n, D = x.shape
        q, k, v = (
            m(x).view(B, n, self.heads, -1).transpose(1, 2) for m in (self.q, self.k, self.v)
        )
        if self.fault == "key is the query":
            k = q
        scores = q @ k.transpose(-2, -1)
        if self.fault != "no scale":
            scores = scores / (D // self.heads) ** 0.5
        if self.fault != "no mask":
            future = torch.ones(n, n, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, float("-inf") if self.fault != "axis" else -1e9)
        weights = scores.softmax(-2 if self.fault == "axis" else -1)
        return self.o((weights @ v).transpose(1, 2).reshape(B, n, D))


class Block(nn.Module):
    def __init__(self, d, heads, fault):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = Attention(d, heads, fault)
        self.up, self.act, self.down = nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d)
        self.fault = fault

    def forward(self, x):
        if self.fault == "no residual":
            return self.down(self.act(self.up(self.ln2(self.attn(self.ln1(x))))))
        x = x + self.attn(self.ln1(x))
        return x + self.down(self.act(self.up(self.ln2(x))))


class Tiny(nn.Module):
    def __init__(self, fault="", d=16, layers=2, heads=2):
        super().__init__()
        self.embed, self.place = nn.Embedding(V, d), nn.Embedding(T, d)
        self.blocks = nn.ModuleList(Block(d, heads, fault) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, V, bias=False)
        self.drop = nn.Dropout(0.1 if fault == "in evaluation late" else 0.0)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.05)
        self.fault = fault

    def forward(self, x):
        h = self.embed(x)
        if self.fault != "no positions":
            h = h + self.place(torch.arange(x.shape[1]))
        else:
            h = h + 0 * self.place.weight.sum()
        for block in self.blocks:
            h = block(h)
        if self.fault == "dropout in evaluation":
            h = F.dropout(h, 0.2)
        return self.head(self.norm(self.drop(h)))


def text(rows, generator):
    """Tokens in which the next mostly follows from the last: t + 3 or t + 5."""
    x = torch.randint(V, (rows, 1), generator=generator)
    for _ in range(T):
        move = torch.where(torch.rand(rows, 1, generator=generator) < 0.7, 3, 5)
        x = torch.cat([x, (x[:, -1:] + move) % V], 1)
    return x


def train(out, fault="", steps=40, seed=0, rate=3e-3, keep="crash"):
    """Train the tiny Transformer with one fault; give the recorder."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    model = Tiny(fault)
    parameters = list(model.parameters())
    if fault == "parameters left out":
        parameters = [p for n, p in model.named_parameters() if not n.startswith("blocks.1")]
    if fault == "frozen":
        model.blocks[0].requires_grad_(False)
    if fault == "bf16":
        model.bfloat16()
    optimizer = torch.optim.AdamW(
        parameters, lr=3e-5 if fault == "bf16" else rate, weight_decay=0.0
    )
    recorder = watch(model, optimizer, out, steps=200, memory=10**9, keep=keep, tell=lambda s: None)
    schedule = None
    if fault in SCHEDULES:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, SCHEDULES[fault])
    with contextlib.closing(recorder):
        for step in range(steps):
            late = step >= MIDDLE
            if fault == "in evaluation late" and late:
                model.eval()
            if fault == "frozen late" and late:
                model.blocks[0].requires_grad_(False)
            if fault == "rate jumps" and step == MIDDLE:
                optimizer.param_groups[0]["lr"] *= 1000
            if fault == "part in evaluation":
                model.blocks[0].eval()
            if not (fault == "same batch late" and step > MIDDLE):
                rows = text(8, generator)
            if fault.startswith("padding"):
                ends = T - 1 - torch.arange(len(rows))[:, None] % 4 * 2
                rows = rows.masked_fill(torch.arange(T + 1) > ends, PAD)
            shift = {"shift 0": 0, "shift 2": 2}.get(fault, 1)
            x, y = rows[:, : T - 1], rows[:, shift : T - 1 + shift]
            if y.shape[1] < x.shape[1]:
                x = x[:, : y.shape[1]]
            if fault == "padding left out":
                y = y.masked_fill(x == PAD, -100)
            if fault == "wrong targets":
                y = torch.randint(V, y.shape, generator=generator)
            if fault != "not zeroed" and not (fault == "not zeroed late" and late):
                optimizer.zero_grad(set_to_none=fault != "frozen late")
            loss = F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten())
            if fault == "loss times 1,000" and step >= MIDDLE:
                loss = loss * 1000
            loss.backward()
            if fault == "zeroed early":
                optimizer.zero_grad()
            optimizer.step()
            recorder.log(loss=loss)
            if schedule is not None:
                schedule.step()
    return recorder
