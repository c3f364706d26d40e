"""RNN, LSTM and GRU: the formula, its fused twin, and torch's own modules."""

import pytest
import torch
from torch import nn

from whence.models import GRU, LSTM, RNN, GRUConfig, LSTMConfig, RNNConfig, build
from whence.models.recurrent.gru import GRULayer
from whence.models.recurrent.lstm import LSTMLayer
from whence.models.recurrent.rnn import RNNLayer

LAYERS = [(RNNLayer, nn.RNN), (LSTMLayer, nn.LSTM), (GRULayer, nn.GRU)]
MODELS = [(RNN, RNNConfig), (LSTM, LSTMConfig), (GRU, GRUConfig)]


def states(layer, batch, d):
    return tuple(torch.randn(batch, d, dtype=torch.float64) for _ in range(layer.n_states))


def outcome(layer, x, state, direction):
    """Output, last state and every gradient."""
    for p in layer.parameters():
        p.grad = None
    x = x.clone().requires_grad_()
    y, last = layer(x, state)
    (y * direction).sum().backward()
    return [y.detach(), *(h.detach() for h in last), x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize(("ours", "theirs"), LAYERS)
@pytest.mark.parametrize("form", ["formula", "fast"])
def test_layer_equals_torch_with_the_same_weights(ours, theirs, form):
    torch.manual_seed(0)
    layer = ours(6, form).double()
    oracle = theirs(6, 6, batch_first=True).double()
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    oracle.load_state_dict(dict(zip(names, layer.weights(), strict=True)))
    x, state = torch.randn(3, 9, 6, dtype=torch.float64), states(layer, 3, 6)
    given = tuple(h[None] for h in state)
    y, last = layer(x, state)
    expected, end = oracle(x, given if len(given) > 1 else given[0])
    torch.testing.assert_close(y, expected)
    for mine, other in zip(last, end if isinstance(end, tuple) else (end,), strict=True):
        torch.testing.assert_close(mine, other[0])


@pytest.mark.parametrize(("ours", "_"), LAYERS)
def test_formula_and_fast_twin_have_equal_outputs_and_gradients(ours, _):
    torch.manual_seed(1)
    slow, fast = ours(6, "formula").double(), ours(6, "fast").double()
    fast.load_state_dict(slow.state_dict())
    x, state = torch.randn(3, 9, 6, dtype=torch.float64), states(slow, 3, 6)
    direction = torch.randn(3, 9, 6, dtype=torch.float64)
    for mine, other in zip(
        outcome(slow, x, state, direction), outcome(fast, x, state, direction), strict=True
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("form", ["formula", "fast"])
def test_carried_state_reads_on_where_it_stopped(model, config, form):
    torch.manual_seed(2)
    net = model(config(n_layers=2, d_model=8, form=form), vocab_size=7)
    nn.init.normal_(net.head.weight)
    tokens = torch.randint(7, (2, 12))
    whole = net(tokens)
    cache = net.new_cache(2)
    parts = [net(tokens[:, :5], cache), net(tokens[:, 5:6], cache), net(tokens[:, 6:], cache)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert cache.length == 12


@pytest.mark.parametrize("config", [RNNConfig, LSTMConfig, GRUConfig])
def test_first_guess_is_uniform_and_bfloat16_context_works(config):
    net = build(config(d_model=8), 7)
    assert net(torch.zeros(1, 3, dtype=torch.long)).abs().max() == 0
    for form in ("formula", "fast"):
        net = build(config(d_model=8, form=form), 7)
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(torch.zeros(2, 3, dtype=torch.long)).float().square().sum()
        loss.backward()


def test_the_forget_gate_starts_open():
    layer = LSTMLayer(4, "fast")
    bias = (layer.read.bias + layer.recall.bias).chunk(4)
    assert torch.equal(bias[1], torch.ones(4))
