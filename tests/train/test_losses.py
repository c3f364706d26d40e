"""Losses and their gradients against torch's, and the figures worked by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from whence.train import losses
from whence.train.evaluation import evaluate, windows


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (losses.mean_squared_error, F.mse_loss),
        (losses.binary_cross_entropy, F.binary_cross_entropy_with_logits),
    ],
)
def test_loss_and_gradient_equal_torch(ours, theirs):
    torch.manual_seed(0)
    z = (torch.randn(40).double() * 10).requires_grad_()
    y = torch.rand(40).double()
    grads = [torch.autograd.grad(f(z, y), z)[0] for f in (ours, theirs)]
    torch.testing.assert_close(ours(z, y), theirs(z, y))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("p", "loss"), [(0.9, 0.1054), (0.5, 0.6931), (0.1, 2.3026), (0.01, 4.6052), (0.05, 2.9957)]
)
def test_surprise(p, loss):
    logits = torch.tensor([p, 1 - p]).log()
    assert losses.cross_entropy(logits, torch.tensor(0)).item() == pytest.approx(loss, abs=5e-5)
    z = torch.tensor([p]).logit()
    assert losses.binary_cross_entropy(z, torch.ones(1)).item() == pytest.approx(loss, abs=5e-5)


def test_gradient_is_p_minus_y():
    logits = torch.tensor([2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10.0], requires_grad=True)
    losses.cross_entropy(logits, torch.tensor(0)).backward()
    expected = {0: -0.8506, 4: 0.4488, 5: 0.3008, 6: 0.0820}
    for i, value in expected.items():
        assert logits.grad[i].item() == pytest.approx(value, abs=5e-5)


def test_windows_count_each_token_once():
    for n in (2, 3, 5, 17, 64, 65, 66, 130):
        for length in (1, 2, 8, 64):
            for stride in {1, max(1, length // 2), length}:
                seen = []
                for start, new in windows(n, length, stride):
                    end = min(start + length, n - 1)
                    assert end - start <= length
                    seen += range(end - new + 1, end + 1)
                assert seen == list(range(1, n)), (n, length, stride)


def test_perplexity_by_hand():
    """A model that gives the right token 1/2, 1/4 and 1/8: perplexity is the cube root of 64."""
    table = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.5, 0.375, 0.125]]).log()

    def bigram(tokens):
        return table[tokens]

    result = evaluate(bigram, np.array([0, 1, 2, 2]), context_length=2, n_bytes=6)
    assert result.n_tokens == 3
    assert result.perplexity == pytest.approx(4.0, rel=1e-6)
    assert result.bits_per_byte == pytest.approx(1.0, rel=1e-6)


def test_overlap_gives_context():
    """A model that knows a token only from three before it: the overlap shows it."""

    def delayed(tokens):
        logits = torch.zeros(*tokens.shape, 5)
        if tokens.shape[1] >= 3:
            logits[:, 2:] += 50 * F.one_hot(tokens[:, :-2], 5)
        return logits

    tokens = np.arange(400) % 3  # period 3: the next token is the one two before the last
    alone = evaluate(delayed, tokens, context_length=4, n_bytes=399)
    overlapping = evaluate(delayed, tokens, context_length=4, n_bytes=399, stride=1)
    assert alone.loss == pytest.approx(math.log(5) / 2, rel=0.05)
    assert overlapping.loss < 0.01
