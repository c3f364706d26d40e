"""Every step of this package's own loop, models and optimizers opens whole."""

import numpy as np
import pytest
import torch

from tests.runs.tiny import finish, make
from whence.data import WindowBatches
from whence.models import GPTConfig, NGramGPT, NGramGPTConfig
from whence.models.gpt.config import gpt2_config, llama_config, modern_config, qwen3_config
from whence.models.gpt.model import GPT
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import AdamWConfig, MuonConfig, SGDConfig
from whence.train.schedules import Schedule
from whence.why import balance, trace

FORMS = {"modern": modern_config, "gpt2": gpt2_config, "llama": llama_config, "qwen3": qwen3_config}
RULES = {
    "adamw": AdamWConfig(weight_decay=0.1, max_grad_norm=0.1),
    "muon": MuonConfig(weight_decay=0.1),
    "momentum": SGDConfig(momentum=0.9),
}


def step_of(config: GPTConfig, rule, accumulate: int = 1):
    torch.manual_seed(0)
    model = GPT(config, vocab_size=31)
    tokens = np.random.default_rng(0).integers(0, 31, 500)
    batches = WindowBatches(tokens, context_length=8, batch_size=4, seed=0, accumulate=accumulate)
    optimizer = Optimizer(model, rule, Schedule("constant", 0), steps=10)
    for _ in train(model, batches, next_token_loss, optimizer, range(2)):
        pass

    def step():
        return next(iter(train(model, batches, next_token_loss, optimizer, [2]))).loss

    return trace(step, model=model, optimizer=optimizer), model, batches


@pytest.mark.parametrize("attention", ["fast", "formula"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_gpt_adds_up(form, attention):
    config = FORMS[form](
        n_layers=2, n_heads=2, d_model=16, context_length=8, dropout=0.1, zero_head=False,
        attention=attention,
    )  # fmt: skip
    t, _, _ = step_of(config, AdamWConfig())
    found = balance(t, numbers=1_000, each=20)
    assert not found.closed
    assert not found.wrong
    number = t.number("logits[1,5,3]")
    heads = {s.label for s in number.attribution("head").shares if "attn head" in s.label}
    assert heads == {f"blocks.{i}.attn head {h}" for i in (0, 1) for h in (0, 1)}


@pytest.mark.parametrize("rule", RULES)
def test_every_optimizer_opens_down_to_tokens(rule):
    config = modern_config(n_layers=1, n_heads=2, d_model=16, context_length=8, zero_head=False)
    t, _, batches = step_of(config, RULES[rule], accumulate=2)
    found = balance(t, numbers=1_000, each=20)
    assert not found.closed
    assert not found.wrong
    for name in ("blocks.0.mlp.up.weight[3,7]", "blocks.0.attn.o.weight[2,5]", "embed.weight[3,2]"):
        number = t.number(name)
        receipt = number.update.why(top=3)
        assert receipt.verdict in ("exact", "rounded")
        shares = number.update.attribution("token").shares
        added = sum(share.value for share in shares)
        assert added == pytest.approx(number.update.value, rel=1e-3, abs=1e-8)
    inputs = torch.cat([part.inputs for _, part in batches[2]])
    found = t.number("blocks.0.mlp.up.weight[3,7].grad").attribution("token")
    assert {s.label for s in found.shares} <= {f"token {i}" for i in inputs.flatten().tolist()}
    examples = t.number("blocks.0.mlp.up.weight[3,7].grad").attribution("example")
    assert {s.label for s in examples.shares} <= {f"example {i}" for i in range(4)}


def test_the_number_of_heads_ahead_of_the_examples_is_told_apart():
    config = modern_config(n_layers=1, n_heads=4, d_model=16, context_length=8, zero_head=False)
    t, _, _ = step_of(config, SGDConfig())
    scores = t["blocks.0.attn.weights"]  # [H·B, T, S]: heads ahead of examples
    place = t.labels.place(scores.ref, np.arange(scores.ref.numel))
    assert place.head is not None
    assert place.example is not None
    first = np.arange(scores.ref.numel).reshape(scores.shape)[:, 0, 0]
    assert place.head[first].tolist() == [i // 4 for i in range(16)]
    assert place.example[first].tolist() == [i % 4 for i in range(16)]


def test_a_gpt_on_counts_opens_down_to_the_counted_prior(tmp_path):
    config = NGramGPTConfig(order=3, n_layers=1, n_heads=2, d_model=16, context_length=16)
    run = make(tmp_path / "run", model=config, steps=6)
    finish(run)
    t = run.at(5).trace()
    found = balance(t, numbers=1_000, each=20)
    assert not found.closed
    assert not found.wrong
    receipt = t.number("logits[0,3,5]").why()
    assert receipt.verdict in ("exact", "rounded")
    session = run.session()
    [(_, part)] = session.batches[5]
    assert isinstance(session.model, NGramGPT)
    prior = session.model.prior_in_training(part.inputs, part.targets)
    assert prior[0, 3, 5].item() in [term.value for term in receipt.terms]
