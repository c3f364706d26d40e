"""What an example moved, against the gradients that autograd gives each example."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from whence.errors import WhenceError
from whence.why import moved, trace
from whence.why.attribution.linear import Chosen, Linear


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.norm = nn.LayerNorm(8)
        self.hidden = nn.Linear(8, 12)
        self.head = nn.Linear(12, 7)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(self.norm(self.embed(x)))))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randint(0, 7, (4, 5)), torch.randint(0, 7, (4, 5))


def stepper(model, optimizer, x, y):
    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()

    return step


def own_gradients(model, x, y, example):
    losses = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none")
    loss = losses.reshape(y.shape)[example].sum() / y.numel()
    return torch.autograd.grad(loss, list(model.parameters()))


def test_an_examples_part_of_every_weight_is_its_own_gradient(batch):
    x, y = batch
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    own = own_gradients(model, x, y, 2)
    names = [name for name, _ in model.named_parameters()]
    t = trace(stepper(model, optimizer, x, y), tokens=x)
    linear = Linear(t, Chosen(t, lambda example, position: example == 2))
    for name, gradient in zip(names, own, strict=True):
        part = linear.of(t.after_of(name))
        np.testing.assert_allclose(part, -0.1 * gradient.double().flatten().numpy(), atol=2e-9)
    found = moved(t, example=2, top=4)
    largest = max((float(0.1 * g.abs().max()), n) for n, g in zip(names, own, strict=True))
    assert abs(found.weights[0].value) == pytest.approx(largest[0], rel=1e-5)
    assert found.weights[0].address.startswith(f"{largest[1]}[")
    assert found.count == 5


@pytest.mark.parametrize("kind", ["adamw", "fused", "momentum", "clipped"])
def test_the_examples_the_past_and_the_decay_add_up_to_the_change(batch, kind):
    x, y = batch
    model = Model()
    optimizer = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
        "fused": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, fused=True),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "clipped": lambda p: torch.optim.SGD(p, lr=0.1),
    }[kind](model.parameters())

    def clipped():
        optimizer.zero_grad()
        F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()

    step = clipped if kind == "clipped" else stepper(model, optimizer, x, y)
    step()
    t = trace(step, tokens=x)
    parts = [Linear(t, Chosen(t, lambda e, p, k=k: e == k)).of(t.after_of("head.weight"))
             for k in range(4)]  # fmt: skip
    for at in (0, 17, 83):
        number = t["head.weight"].update.at(at)
        blamed = {s.label: s.value for s in number.attribution("example").shares}
        for k in range(4):
            assert parts[k][at] == pytest.approx(
                blamed.get(f"example {k}", 0.0), rel=1e-6, abs=1e-12
            )


def test_a_line_of_the_text_is_every_place_it_stands_at(batch):
    x, y = batch
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    where = lambda example, position: f"line {10 + (5 * example + position) // 7} of it"  # noqa: E731
    t = trace(stepper(model, optimizer, x, y), tokens=x, where=where)
    found = moved(t, line=11)
    assert found.what == "line 11 of it"
    assert found.count == 7
    number = t.number(found.weights[0].address)
    shares = {s.label.partition(":")[0]: s.value for s in number.attribution("where").shares}
    assert shares["line 11 of it"] == pytest.approx(found.weights[0].value, rel=1e-6)
    assert moved(t, line="line 11 of it") == found
    with pytest.raises(WhenceError, match="99 is not a line of this step's batch"):
        moved(t, line=99)
    with pytest.raises(WhenceError, match="the batch has 0 to 3"):
        moved(t, example=4)


def test_without_an_update_nothing_was_moved(batch):
    x, y = batch
    model = Model()
    t = trace(lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward(), tokens=x)
    with pytest.raises(WhenceError, match="moved no weight"):
        moved(t, example=0)


def test_ids_that_may_be_either_way_round_are_asked_about():
    ids = torch.tensor([[1, 3], [4, 1]])
    table = nn.Embedding(5, 2)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.5)

    def step():
        table(ids).sum().backward()
        optimizer.step()

    with pytest.raises(WhenceError, match=r"give trace.. tokens="):
        moved(trace(step), example=1)
