"""The lower rungs: what each must reach, and that all of them go through one loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from whence.data import WindowBatches, open_source
from whence.data.tokenizers import train_tokenizer
from whence.errors import WhenceError
from whence.models import MODELS, BigramConfig, MLPConfig, RNNConfig, build
from whence.train.evaluation import evaluate
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import AdamWConfig
from whence.train.schedules import Schedule

SMALL = {
    "bigram": BigramConfig(context_length=8),
    "mlp": MLPConfig(n_previous=3, d_model=4, d_ff=16, context_length=8),
    "rnn": RNNConfig(d_model=16, context_length=8),
    "lstm": replace(MODELS["lstm"], d_model=16, context_length=8),
    "gru": replace(MODELS["gru"], d_model=16, context_length=8),
}


def real_text(n: int) -> tuple[np.ndarray, int]:
    text = "".join(open_source("topics").chunks())[:n]
    tokenizer = train_tokenizer("chars", lambda: [text])
    return tokenizer.encode(text), tokenizer.vocab_size


def counted_loss(tokens: np.ndarray, size: int) -> float:
    """The maximum likelihood of a bigram: −Σ c(a,b)·ln(c(a,b)/c(a)) / n."""
    counts = np.zeros((size, size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    p = counts / counts.sum(1, keepdims=True).clip(1)
    return -float((counts[counts > 0] * np.log(p[counts > 0])).sum()) / (len(tokens) - 1)


def test_neural_bigram_reaches_the_counted_loss_on_real_text():
    tokens, size = real_text(6001)
    model = build(BigramConfig(context_length=6000), size)
    batches = WindowBatches(tokens, context_length=6000, batch_size=1, seed=0)
    config = AdamWConfig(learning_rate=0.5, max_grad_norm=0)
    optimizer = Optimizer(model, config, Schedule("linear", 0), steps=400)
    for _ in train(model, batches, next_token_loss, optimizer, range(400)):
        pass
    found = evaluate(model, tokens, context_length=6000, n_bytes=len(tokens))
    counted = counted_loss(tokens, size)
    assert counted <= found.loss + 1e-6  # nothing can be better than the closed form
    assert found.loss == pytest.approx(counted, abs=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_each_rung_starts_uniform_and_learns_by_the_one_loop(name):
    tokens, size = real_text(4000)
    torch.manual_seed(0)
    model = build(SMALL[name], size)
    batches = WindowBatches(tokens, context_length=8, batch_size=32, seed=0)
    optimizer = Optimizer(model, AdamWConfig(learning_rate=0.02), Schedule("constant", 0), steps=60)
    losses = [
        float(loss) for _, loss in train(model, batches, next_token_loss, optimizer, range(60))
    ]
    assert losses[0] == pytest.approx(math.log(size), abs=1e-5)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_no_rung_reads_the_future(name):
    torch.manual_seed(0)
    model = build(SMALL[name], 9)
    head = model.table if name == "bigram" else model.head
    nn.init.normal_(head.weight)
    tokens = torch.randint(9, (2, 8))
    changed = tokens.clone()
    changed[:, 5] = (tokens[:, 5] + 1) % 9
    same = (model(tokens) == model(changed)).all(-1)
    assert same[:, :5].all()
    assert not same[:, 5].any()


def test_mlp_is_bengios_formula():
    torch.manual_seed(0)
    model = build(MLPConfig(n_previous=3, n_layers=2, d_model=4, d_ff=8), 9)
    nn.init.normal_(model.head.weight)
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    for t in range(5):
        last = [9] * max(0, 2 - t) + tokens[0, max(0, t - 2) : t + 1].tolist()
        x = torch.cat([model.embed.weight[i] for i in last])
        for layer in model.hidden:
            x = torch.tanh(F.linear(x, layer.weight, layer.bias))
        expected = F.linear(x, model.head.weight, model.head.bias)
        torch.testing.assert_close(model(tokens)[0, t], expected)


def test_mlp_reads_no_further_back_than_it_says():
    torch.manual_seed(0)
    model = build(SMALL["mlp"], 9)
    nn.init.normal_(model.head.weight)
    tokens = torch.randint(9, (1, 8))
    shortened = tokens[:, -model.context_length :]
    torch.testing.assert_close(model(tokens)[:, -1], model(shortened)[:, -1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLPConfig(n_previous=0), "n_previous is 0"),
        (lambda: RNNConfig(d_model=0), "d_model is 0"),
        (lambda: RNNConfig(dropout=1.0), "dropout is 1.0"),
        (lambda: build(BigramConfig(), 100_000), "100,000² pairs"),
    ],
)
def test_impossible_sizes_are_told_in_a_sentence(make, words):
    with pytest.raises(WhenceError, match=words):
        make()
