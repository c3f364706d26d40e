"""Labels follow the ids that numbers were made from, not shapes that happen to agree."""

import re

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from tests.why.models import GPT, VOCAB, T
from whence.errors import WhenceError
from whence.models import build, gpt2_config
from whence.why import Trace, trace


def tokens_at(t: Trace, name: str) -> np.ndarray:
    """The token of each vector of an activation [rows, columns, D]."""
    numbers = t[name]
    rows, columns, width = numbers.shape
    place = t.labels.place(numbers.ref, np.arange(rows * columns) * width)
    assert place.token is not None
    return place.token.reshape(rows, columns)


def draw(*shape: int, seed: int = 0, low: int = 2) -> Tensor:
    return torch.randint(low, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fused", [False, True])
def test_each_of_two_forward_passes_has_its_own_tokens(fused):
    torch.manual_seed(0)
    model, chosen, rejected = GPT(fused=fused), draw(2, T), draw(2, T, seed=1)

    def step():
        better, worse = model(chosen), model(rejected)
        loss = -F.logsigmoid(better.mean() - worse.mean())
        loss.backward()

    t = trace(step, model=model)
    for name, ids in (("blocks.0.mlp.up", chosen), ("blocks.0.mlp.up#2", rejected)):
        assert tokens_at(t, name).tolist() == ids.tolist()
        assert tokens_at(t, f"{name}.grad").tolist() == ids.tolist()
    second = t.labels.place(t["blocks.1#2"].ref, np.array([0]))
    assert second.example is not None
    assert second.example.tolist() == [2]  # counted on
    shares = t.number("blocks.0.mlp.up.weight[3,7].grad").attribution("token").shares
    both = {f"token {i}" for i in (*chosen.flatten().tolist(), *rejected.flatten().tolist())}
    assert {s.label for s in shares} == both
    delta = [t[n].grad.value[:, :, 3].double() for n in ("blocks.0.mlp.up", "blocks.0.mlp.up#2")]
    x = [t[n].value[:, :, 7].double() for n in ("blocks.0.norm2", "blocks.0.norm2#2")]
    for share in shares:
        token = int(share.label.removeprefix("token "))
        parts = zip(delta, x, (chosen, rejected), strict=True)
        expected = sum(float((d * h)[ids == token].sum()) for d, h, ids in parts)
        assert share.value == pytest.approx(expected, rel=1e-6, abs=1e-12)


def library(name: str) -> nn.Module:
    small = {"vocab_size": VOCAB, "d_model": 16, "pad_token_id": 0, "eos_token_id": 1,
             "decoder_start_token_id": 0}  # fmt: skip
    if name == "t5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                d_kv=8, d_ff=24, num_layers=1, num_heads=2, dropout_rate=0.0, **small
            )
        )
    ends = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
            "max_position_embeddings": 16, "dropout": 0.0}  # fmt: skip
    if name == "bart":
        return transformers.BartForConditionalGeneration(
            transformers.BartConfig(bos_token_id=2, **ends, **small)
        )
    return transformers.MarianMTModel(transformers.MarianConfig(**ends, **small))


@pytest.mark.parametrize("target", [5, 7], ids=["target of another length", "of the same length"])
@pytest.mark.parametrize("name", ["t5", "bart", "marian"])
def test_the_decoder_of_another_library_has_the_targets_tokens(name, target):
    torch.manual_seed(0)
    model, source, wanted = library(name).train(), draw(2, 7), draw(2, target, seed=1)
    read = model._shift_right if name == "t5" else model.prepare_decoder_input_ids_from_labels  # type: ignore[operator]

    def step():
        model(input_ids=source, labels=wanted).loss.backward()

    t = trace(step, model=model)
    shared = {
        "t5": ("encoder.block.0", "decoder.block.0"),
        "bart": ("model.encoder.layers.0", "model.decoder.layers.0"),
        "marian": ("model.encoder.layers.0", "model.decoder.layers.0"),
    }
    encoder, decoder = shared[name]
    for part, ids in ((encoder, source), (decoder, read(wanted))):
        assert tokens_at(t, part).tolist() == ids.tolist()
        place = t.labels.place(t[part].ref, np.array([ids.shape[1] * 16]))
        assert place.example is not None  # an example's source and target are one example
        assert place.position is not None
        assert (place.example.tolist(), place.position.tolist()) == ([1], [0])


@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn", "encoder", "heads"])
@pytest.mark.parametrize("length", [4, 6])
def test_time_first_is_told_by_the_layers_that_read_it(layer, length):
    torch.manual_seed(0)
    makers = {
        "lstm": lambda: nn.LSTM(8, 8),
        "gru": lambda: nn.GRU(8, 8),
        "rnn": lambda: nn.RNN(8, 8),
        "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0),
        "heads": lambda: nn.MultiheadAttention(8, 2),
    }
    table, inner, ids = nn.Embedding(VOCAB, 8), makers[layer](), draw(length, 4)  # [T, B]
    model = nn.ModuleDict({"table": table, "inner": inner})

    def step():
        x = table(ids)
        y = inner(x, x, x)[0] if layer == "heads" else inner(x)
        y = y if isinstance(y, Tensor) else y[0]
        y.square().mean().backward()

    t = trace(step, model=model)
    place = t.labels.place(t["table"].ref, np.array([(2 * 4 + 1) * 8]))  # row 2, column 1
    assert place.position is not None
    assert place.example is not None
    assert place.token is not None
    assert (place.position.item(), place.example.item()) == (2, 1)
    assert place.token.item() == ids[2, 1].item()
    words = t.labels.describe(t["table"].ref, (2 * 4 + 1) * 8)
    assert words == f"token {ids[2, 1]} at position 2 of example 1"


def test_what_cannot_be_known_is_called_row_and_column():
    torch.manual_seed(0)
    model, ids = nn.Sequential(nn.Embedding(VOCAB, 4), nn.Tanh(), nn.Linear(4, 3)), draw(4, 4)

    def step():
        model(ids).square().mean().backward()

    t = trace(step, model=model)
    assert t.labels.describe(t["1"].ref, 4 * 6) == f"token {ids[1, 2]} at row 1, column 2"
    with pytest.raises(WhenceError, match=r"shape \[4, 4\] runs over examples: .*tokens="):
        t.number("2.weight[0,1].grad").attribution("position")
    shares = t.number("2.weight[0,1].grad").attribution("token").shares
    assert {s.label for s in shares} == {f"token {i}" for i in ids.flatten().tolist()}
    told = trace(step, model=model, tokens=ids)
    assert told.labels.describe(told["1"].ref, 4 * 6) == (
        f"token {ids[1, 2]} at position 2 of example 1"
    )


def test_positions_and_types_are_not_tokens():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16,
    )  # fmt: skip
    model, ids = transformers.BertForMaskedLM(config), draw(2, 6)
    kinds = torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)

    def step():
        model(input_ids=ids, token_type_ids=kinds, labels=ids).loss.backward()

    t = trace(step, model=model)
    assert tokens_at(t, "bert.embeddings").tolist() == ids.tolist()
    assert tokens_at(t, "bert.encoder.layer.0").tolist() == ids.tolist()


def test_heads_that_lie_ahead_of_examples_carry_the_right_example():
    """The oracle: the formula's weights [B, H, T, S], which are the same numbers."""
    tokens = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(1))
    traced = {}
    for form in ("fast", "formula"):
        torch.manual_seed(0)
        config = gpt2_config(n_layers=1, n_heads=2, d_model=16, context_length=8, attention=form)
        model = build(config, 11)
        nn.init.normal_(model.embed.weight)

        def step(model=model):
            F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()

        traced[form] = trace(step, model=model, tokens=tokens)
    name = "blocks.0.attn.weights"
    fast, formula = (traced[form][name] for form in ("fast", "formula"))
    assert (fast.shape, formula.shape) == ((6, 8, 8), (3, 2, 8, 8))
    for row in range(6):
        place = traced["fast"].number(f"{name}[{row},5,2]")
        (example,) = re.findall(r"of example (\d)", str(place.why()).splitlines()[1])
        same = formula.value[int(example), :, 5, 2]
        assert any(place.value == pytest.approx(float(x), rel=1e-5) for x in same)
        assert not torch.isclose(same, formula.value[(int(example) + 1) % 3, :, 5, 2]).any()
