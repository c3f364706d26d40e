"""What a fused kernel keeps to itself: it has names, opens, and is what torch's parts make."""

import pytest
import torch
from torch import nn

from whence.why import balance, trace


@pytest.mark.parametrize("norm_first", [False, True], ids=["norm last", "norm first"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore")
def test_the_fused_encoder_layer_opens_into_its_formula(norm_first, masked, dtype):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, batch_first=True, norm_first=norm_first, activation="gelu", dtype=dtype
    ).eval()
    x = torch.randn(3, 5, 8, dtype=dtype)
    padding = torch.arange(5)[None] >= torch.tensor([5, 4, 3])[:, None] if masked else None

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return layer(x, src_key_padding_mask=padding)

    expected = step()
    t = trace(step, model=layer)
    assert torch.equal(t.result, expected)
    assert "_transformer_encoder_layer_fwd" in {op.name for op in t.ops}
    assert not t.closed()
    found = balance(t, numbers=200, each=200)
    assert not found.wrong
    assert not any(row.refused for row in found.rows)
    receipt = t.number("output[1,2,3]").why()
    assert receipt.verdict in ("rounded", "rounding noise")
    for address in receipt.opens:
        assert t.number(address).why().verdict in ("exact", "rounded", "given")
    wide = layer.double()
    given = (wide.norm1(x.double()) if norm_first else x.double(),) * 3
    with torch.enable_grad():  # the parts by themselves, not the fused kernel
        theirs, weights = wide.self_attn(
            *given, key_padding_mask=padding, average_attn_weights=False
        )
    torch.testing.assert_close(t["attention"].value, theirs.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(t["weights"].value, weights.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("need", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_fused_attention_outside_of_training_opens(need, average):
    torch.manual_seed(0)
    heads, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 5, 8)

    def step():
        with torch.no_grad():
            return heads(x, x, x, need_weights=need, average_attn_weights=average)

    t = trace(step, model=heads)
    assert "_native_multi_head_attention" in {op.name for op in t.ops}
    assert not t.closed()
    assert not balance(t, numbers=400, each=400).wrong
    for address in t.number("output[1,2,3]").why().opens:
        assert t.number(address).why().verdict in ("exact", "rounded", "given")


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
def test_the_numbers_inside_an_lstm_have_addresses(both):
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=both, batch_first=True)
    x = torch.randn(2, 5, 4)

    def step() -> None:
        lstm(x)[0].square().mean().backward()

    t = trace(step, model=lstm)
    for start in (
        "output[0,1,2]",
        "output[1,4,0]",
        "weight_ih_l0[2,3].grad",
        "weight_hh_l1[0,1].grad",
    ):
        todo, seen = [start], set()
        while todo and len(seen) < 40:
            address = todo.pop(0)
            if address not in seen:
                seen.add(address)
                todo += t.number(address).why().opens[:3]
        assert len(seen) > 10
    cell = nn.LSTMCell(4, 3).double()
    with torch.no_grad():
        for ours, theirs in zip(cell.parameters(), lstm.all_weights[0], strict=True):
            ours.copy_(theirs)
        state = cell(x[:1, 0].double())
        state = cell(x[:1, 1].double(), state)
    torch.testing.assert_close(t["example0.cell#2"].value, state[1], rtol=1e-6, atol=1e-7)


def test_two_runs_of_one_module_have_names_of_their_own():
    torch.manual_seed(0)
    lstm, x = nn.LSTM(4, 3, batch_first=True), torch.randn(2, 2, 5, 4)

    def step() -> torch.Tensor:
        return lstm(x[0])[0].sum() + lstm(x[1])[0].sum()

    t = trace(step, model=nn.ModuleDict({"lstm": lstm}))
    first, second = t["lstm.example1.h"].value, t["lstm.run2.example1.h"].value
    torch.testing.assert_close(first, t["lstm"].value[1:, 0].double(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(second, t["lstm#2"].value[1:, 0].double(), rtol=1e-6, atol=1e-7)
    assert t.number("lstm.run2.example1.h[0,2]").why().opens
