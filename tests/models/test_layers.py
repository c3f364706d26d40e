"""Attention, positions and norms against torch's own and the papers' formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from whence.models.layers.attention import Attention, attend
from whence.models.layers.attention_fused import FusedAttention, attend_fused
from whence.models.layers.feed_forward import MLP, Absent, GatedMLP, PairEmbedding, relu2
from whence.models.layers.norms import RMSNorm
from whence.models.layers.positions import Rotation, SinusoidalPositions, position_angles

FORMS = [Attention, FusedAttention]


def copy_heads(theirs, ours):
    D = theirs.embed_dim
    ours.load_state_dict(
        {
            **{
                f"{x}.{kind}": getattr(theirs, f"in_proj_{kind}")[i * D : (i + 1) * D]
                for i, x in enumerate("qkv")
                for kind in ("weight", "bias")
            },
            "o.weight": theirs.out_proj.weight,
            "o.bias": theirs.out_proj.bias,
        }
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_torchs(form, causal):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours = form(24, 3, causal=causal, qkv_bias=True, bias=True)
    copy_heads(theirs, ours)
    x = torch.randn(2, 7, 24, requires_grad=True)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    want = theirs(x, x, x, attn_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(ours(x), want, rtol=1e-5, atol=1e-6)
    upstream = torch.randn_like(x)
    (want_grad,) = torch.autograd.grad(want, x, upstream)
    (got_grad,) = torch.autograd.grad(ours(x), x, upstream)
    torch.testing.assert_close(got_grad, want_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_cross_attention_with_padding_is_torchs(form):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    ours = form(24, 3, causal=False, qkv_bias=True, bias=True)
    copy_heads(theirs, ours)
    x, source = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    visible = torch.arange(7) < torch.tensor([[7], [4]])
    want = theirs(x, source, source, key_padding_mask=~visible)[0]
    got = ours(x, source=source, visible=visible)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    # and over the tokens themselves, with padding
    visible = torch.arange(5) < torch.tensor([[5], [3]])
    want = theirs(x, x, x, key_padding_mask=~visible)[0]
    torch.testing.assert_close(ours(x, visible=visible), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("lengths", [(9, 9), (3, 9), (1, 9)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_fast_twin(heads, grad, lengths, causal, padded):
    torch.manual_seed(0)
    (H, G), (T, S) = heads, lengths
    q = torch.randn(2, H, T, 8, requires_grad=grad)
    k, v = torch.randn(2, G, S, 8), torch.randn(2, G, S, 8)
    visible = torch.arange(S) < torch.tensor([[S], [S - 2]]) if padded else None
    if padded and causal:
        visible = visible.flip(1)[:, None].expand(2, T, S).clone()
        visible[..., 0] = True  # a query that sees nothing has no weights to speak of
    torch.testing.assert_close(
        attend_fused(q, k, v, causal, visible), attend(q, k, v, causal, visible)
    )


def test_dropout_of_weights_keeps_their_mean():
    torch.manual_seed(0)
    q = k = torch.zeros(1, 1, 400, 4, requires_grad=True)
    v = torch.ones(1, 1, 400, 4)
    for twin in (attend, attend_fused):
        y = twin(q, k, v, False, None, 0.5)
        assert y.std() > 0
        assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    attention = Attention(16, 2, dropout=0.5)
    x = torch.randn(1, 5, 16)
    assert not torch.equal(attention(x), attention(x))
    assert torch.equal(attention.eval()(x), attention(x))


def test_sinusoids_by_hand():
    D, base = 6, 10000.0
    got = SinusoidalPositions()(torch.zeros(1, 5, D), start=3)[0]
    for row, t in enumerate(range(3, 8)):
        for i in range(D // 2):
            angle = t / base ** (2 * i / D)
            assert got[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert got[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotation_knows_distances_only_and_keeps_lengths():
    torch.manual_seed(0)
    q, k = torch.randn(8), torch.randn(8)
    rotation = Rotation(position_angles(0, 20, 8, 100.0))
    Q, K = rotation(q.expand(20, 8)), rotation(k.expand(20, 8))
    torch.testing.assert_close(Q.norm(dim=1), q.norm().expand(20))
    products = Q @ K.T
    for distance in (0, 3, 7):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[0].expand_as(along), rtol=1e-4, atol=1e-5)
    angle = 5 / 100.0 ** (2 / 8)  # feature 1 and 5 at place 5
    assert Q[5, 1].item() == pytest.approx(
        q[1].item() * math.cos(angle) - q[5].item() * math.sin(angle), abs=1e-5
    )


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_torchs(weight, dtype):
    torch.manual_seed(0)
    ours = RMSNorm(16, weight=weight, eps=1e-5)
    x = torch.randn(3, 16).to(dtype)
    if ours.weight is not None:
        nn.init.uniform_(ours.weight)
        ours = ours.to(dtype)
    torch.testing.assert_close(ours(x), F.rms_norm(x, (16,), ours.weight, 1e-5))


def test_rms_norms_derivative():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ours = RMSNorm(5, eps=1e-3).double()
    assert torch.autograd.gradcheck(ours, (x,))
    upstream = torch.randn_like(x)
    (want,) = torch.autograd.grad(F.rms_norm(x, (5,), eps=1e-3), x, upstream)
    (got,) = torch.autograd.grad(ours(x), x, upstream)
    torch.testing.assert_close(got, want)


def test_squared_relus_derivative():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu2, (x,))
    upstream = torch.randn_like(x)
    (want,) = torch.autograd.grad(F.relu(x).square(), x, upstream)
    (got,) = torch.autograd.grad(relu2(x), x, upstream)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(relu2(x.detach()), relu2(x).detach(), rtol=0, atol=0)


def test_feed_forward_parts():
    torch.manual_seed(0)
    x = torch.randn(4, 8)
    plain = MLP(8, 16, "relu2", bias=True)
    hidden = torch.clamp(x @ plain.up.weight.T + plain.up.bias, min=0) ** 2
    torch.testing.assert_close(plain(x), hidden @ plain.down.weight.T + plain.down.bias)
    gated = GatedMLP(8, 16, "swiglu")
    gate = x @ gated.gate.weight.T
    hidden = gate * torch.sigmoid(gate) * (x @ gated.up.weight.T)
    torch.testing.assert_close(gated(x), hidden @ gated.down.weight.T)
    assert torch.equal(Absent()(x, None), torch.zeros_like(x))


def test_pairs():
    table = PairEmbedding(3, 2)
    nn.init.normal_(table.weight)
    y = table(torch.tensor([[2, 0, 1]]))
    assert torch.equal(y[0], table.weight[torch.tensor([3 * 3 + 2, 2 * 3 + 0, 0 * 3 + 1])])
    later = table(torch.tensor([[0, 1]]), torch.tensor([[2]]))
    assert torch.equal(later[0], y[0, 1:])


@pytest.mark.parametrize("form", FORMS)
def test_the_norms_of_queries_and_keys_have_torchs_weights(form):
    torch.manual_seed(0)
    ours, x = form(24, 3, qk_norm="rms", norm_eps=1e-5), torch.randn(2, 5, 8)
    for mine in (ours.q_norm, ours.k_norm):
        theirs = nn.RMSNorm(8, eps=1e-5)
        nn.init.normal_(theirs.weight)
        mine.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(mine(x), theirs(x))
