"""A loop of one's own, and the function that builds its model, as `--model` names it."""

import torch
import torch.nn.functional as F

import whence
from tests.watch.loops import NanoGPT, tokens


def build():
    torch.manual_seed(1)  # any weights: the stored ones are put in
    return NanoGPT()


def train(out, steps=12, poison=None, **options):
    """Train a small GPT; `poison(step, model, x)` may spoil a batch."""
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    with whence.watch(model, optimizer, out=out, **options) as recorder:
        for step in range(steps):
            x, y = tokens()
            if poison is not None:
                poison(step, model, x)
            logits, _ = model(x)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.log(loss=loss)
            losses.append(loss.item())
    return recorder, model, losses
