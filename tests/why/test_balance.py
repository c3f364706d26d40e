"""Every number of a step is the sum of its rule's terms, within the rounding it allows."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.why.models import GPT, Recurrent, adamw, stepper, text, transformer
from whence.errors import WhenceError
from whence.why import balance, trace
from whence.why.rules.table import RULES, SCHEMAS

MODELS: dict[str, Callable[[], nn.Module]] = {
    "gpt": lambda: GPT(dropout=0.1),
    "gpt fused": lambda: GPT(fused=True, tied=True),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "rnn": lambda: Recurrent(nn.RNN),
    "gpt2": lambda: transformer("gpt2"),
    "llama": lambda: transformer("llama"),
    "qwen3": lambda: transformer("qwen3"),
}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_a_step_adds_up(name, bf16):
    torch.manual_seed(0)
    model = MODELS[name]()
    step = stepper(model, adamw(model, fused="fused" in name), bf16=bf16, clip=1.0)
    step()  # so that the moments aren't zero
    found = balance(trace(step), numbers=2_000, each=50)
    assert not found.closed
    assert not found.wrong
    assert found.numbers >= 2_000


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU], ids=["lstm", "gru"])
def test_every_number_adds_up_with_all_parameters_in_bf16(kind):
    torch.manual_seed(0)
    model = Recurrent(kind).bfloat16()
    found = balance(trace(stepper(model, adamw(model))), numbers=1_000)
    assert not found.closed
    assert not found.wrong


def test_a_layer_that_reads_both_ways_adds_up():
    torch.manual_seed(0)
    model = Recurrent(nn.LSTM, bidirectional=True, num_layers=2)
    found = balance(trace(stepper(model, adamw(model))), numbers=500, each=20)
    assert not found.closed
    assert not found.wrong


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "fused sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, fused=True),
    "foreach": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "single": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=False),
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_adds_up(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    x, y = torch.randn(7, 5), torch.randn(7, 3)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    for _ in range(3):
        found = balance(trace(step), numbers=300)
        assert not found.closed
        assert not found.wrong


def zoo(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Many operations that the models above don't use."""
    i = torch.tensor([[0, 2, 1], [3, 3, 0]])
    picked = table[i[:, :2], i[:, 1:]] + table[:, i[0]].sum(1)[0]
    gathered = x.gather(1, i[:, :1].expand(-1, 2) % x.shape[1])
    put = x.index_put((torch.tensor([0, 1, 0]), torch.tensor([1, 1, 2])), x[0, :3])
    added = put.index_add(0, torch.tensor([1, 1]), x[:2] * 0.5, alpha=2.0)
    scattered = torch.zeros(2, 4).scatter_add(1, i, x[:2, :3])
    replaced = scattered.scatter(1, i[:, :1], 2.5)
    parts = torch.cat([x.flip(1).roll(1, 0), F.pad(x, (1, 2), value=0.5)[:, :4].tril(1)], 1)
    grown = torch.stack([parts.repeat(2, 1).cumsum(0), parts.repeat(2, 1)], 2).amax(2)
    smooth = torch.logsumexp(grown, 0) + grown.var(0) + grown.std(0) + grown.norm(dim=0)
    curves = F.softplus(x).log1p() + x.sigmoid() * x.abs().sqrt() + (x.exp() - 1).expm1() * 0.01
    odd = torch.where(x > 0, x.clamp(max=0.7), F.leaky_relu(x)) + torch.maximum(x, x.sin())
    more = (
        F.silu(x) + F.gelu(x, approximate="tanh") + x.square() ** 1.5 + x.cos().log2().nan_to_num()
    )
    losses = (
        F.binary_cross_entropy(x.sigmoid(), (x > 0).float())
        + F.binary_cross_entropy_with_logits(x, (x > 0).float())
        + F.l1_loss(x, table[:3, :4], reduction="sum")
        + F.cross_entropy(x, torch.tensor([0, -100, 2]), label_smoothing=0.1)
    )
    total = sum(v.sum() for v in (picked, gathered, added, replaced, smooth, curves, odd, more))
    return losses + total + (x @ table.T[:, 0]).prod() * 0 + x[0].dot(x[1]) + x.mv(x[0]).max()


def test_operations_that_the_models_do_not_use_add_up():
    torch.manual_seed(0)
    x, table = torch.rand(3, 4) - 0.3, torch.randn(4, 4)
    x.requires_grad_()
    table.requires_grad_()

    def step():
        zoo(x, table).backward()

    found = balance(trace(step), numbers=3_000)
    assert not found.wrong
    assert not found.closed


@pytest.mark.parametrize(
    ("operation", "factor"), [("mm", 1.001), ("native_layer_norm", 1.0001), ("_fused_adamw", 1.01)]
)
def test_a_broken_rule_is_caught(monkeypatch, operation, factor):
    torch.manual_seed(0)
    model = GPT()
    t = trace(stepper(model, adamw(model, fused=True)))
    right = RULES[operation]

    def broken(call, at):
        opened = right(call, at)
        first = opened.parts[0]
        return replace(
            opened,
            parts=[replace(first, coefficient=first.coefficient * factor), *opened.parts[1:]],
        )

    monkeypatch.setitem(RULES, operation, broken)
    wrong = balance(t, numbers=1_000).wrong
    assert len(wrong) > 10
    monkeypatch.setitem(RULES, operation, right)
    assert not balance(t, numbers=1_000).wrong


def test_a_changed_schema_is_refused_by_name(monkeypatch):
    model = GPT(fused=True)
    t = trace(stepper(model, adamw(model)))
    name = "_scaled_dot_product_flash_attention_for_cpu"
    monkeypatch.setitem(SCHEMAS, name, "(Tensor query) -> Tensor")
    with pytest.raises(WhenceError, match="was written for arguments"):
        t["blocks.0.attn.y"][0, 0, 0, 0].why()


def test_an_operation_without_a_rule_is_a_closed_box_that_says_its_name():
    @torch.library.custom_op("whence_tests::secret", mutates_args=())
    def secret(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy((x.numpy() * w.numpy()).cumsum())

    x, w = torch.rand(3), torch.rand(3)

    def step():
        y = secret(x, w)
        return y.sum()

    t = trace(step)
    assert t.closed() == {"secret": 1}
    receipt = t.why("y[1]")
    assert receipt.verdict == "closed box"
    assert "secret" in receipt.symbols
    assert receipt.names == {"x": "x", "w": "w"}
    assert receipt.value == t["y"].value[1]


def test_the_draw_is_the_same_for_the_same_seed():
    tokens, _ = text()
    model = GPT()

    def step():
        return model(tokens).sum()

    t = trace(step)
    assert balance(t, numbers=200, seed=3).rows == balance(t, numbers=200, seed=3).rows


def test_one_number_that_cannot_be_opened_does_not_end_the_balance(monkeypatch):
    torch.manual_seed(0)
    x, w = torch.randn(8), torch.randn(8, requires_grad=True)

    def step() -> None:
        (x * w).exp().sum().backward()

    t = trace(step)
    right = RULES["exp"]

    def fails(call, at):
        if (at == 3).any():
            raise ZeroDivisionError("a number like no other")
        return right(call, at)

    monkeypatch.setitem(RULES, "exp", fails)
    found = balance(t, numbers=200, each=200)
    (row,) = [row for row in found.rows if row.operation == "exp float32"]
    assert row.numbers == 7
    assert row.refused == ["the rule of exp failed: ZeroDivisionError: a number like no other"]
    assert "not opened: the rule of exp failed" in str(found)
    assert {r.operation: r.numbers for r in found.rows}["mul float32"] >= 16
    assert not found.wrong
