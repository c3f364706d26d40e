"""Weights in fewer bits: what they stand for, what they cost, and that they say so."""

import json

import pytest
import torch
from torch import nn

from tests.cli.command import whence
from tests.runs.tiny import RECIPE, finish, make
from whence.errors import WhenceError
from whence.generate import generate
from whence.interop.talk.answers import Answer
from whence.models import (
    GPT,
    GPTConfig,
    LSTMConfig,
    build,
    gpt2_config,
    llama_config,
    modern_config,
    qwen3_config,
)
from whence.models.gpt.batch_decode import BatchDecoder
from whence.models.layers.quantized import Linear4, Linear8
from whence.scale.weights import store

FORMS = {
    "usual": GPTConfig(zero_head=False),
    "modern, pairs": modern_config(zero_head=False, bigram_embedding=True),
    "gpt2": gpt2_config(bias=True, qkv_bias=True, tied_embeddings=True),
    "llama, shared keys": llama_config(n_kv_heads=2),
    "qwen3": qwen3_config(),
    "sinusoidal, formula": GPTConfig(zero_head=False, positions="sinusoidal", attention="formula"),
}


def rows(layer: nn.Linear) -> torch.Tensor:
    return torch.randn(5, 3, layer.in_features).bfloat16()


@pytest.mark.parametrize("bias", [False, True])
def test_8_bits_are_those_that_pytorch_rounds_to(bias):
    torch.manual_seed(0)
    layer = nn.Linear(96, 70, bias=bias)
    made = Linear8(layer)
    scale, zero = layer.weight.detach().abs().amax(1) / 127, torch.zeros(70, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(layer.weight, scale, zero, 0, -127, 127)
    steps = (theirs / scale[:, None]).round()
    assert (made.q - steps).abs().max() <= 1  # a tie may fall to either side
    assert (made.q == steps).float().mean() > 0.999
    for x in (rows(layer), rows(layer).repeat(2, 1, 1)):  # few rows and many
        want = nn.functional.linear(x.float(), theirs, layer.bias)
        torch.testing.assert_close(made(x).float(), want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("bias", [False, True])
def test_4_bits_are_those_of_gguf(bias):
    """The blocks of Q4_1: the gguf package rounds the same weights, and reads them back."""
    import gguf

    torch.manual_seed(0)
    layer = nn.Linear(96, 70, bias=bias)
    kind = gguf.GGMLQuantizationType.Q4_1
    stored = gguf.quantize(layer.weight.detach().numpy(), kind)
    theirs = torch.from_numpy(gguf.dequantize(stored, kind))
    x = rows(layer)
    want = nn.functional.linear(x.float(), theirs, layer.bias)
    got = Linear4(layer)(x).float()
    assert (got - want).norm() < 0.02 * want.norm()
    exact = nn.functional.linear(x.float(), layer.weight, layer.bias)
    assert 0.02 * exact.norm() < (got - exact).norm() < 0.15 * exact.norm()  # rounded it is


@torch.inference_mode()
@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("form", FORMS)
def test_every_way_of_reading_agrees(form, weights):
    """The whole text at once, with a cache token by token, and side by side with others."""
    torch.manual_seed(0)
    model = GPT(FORMS[form], 65).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases begin at 0, and norms at 1
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(0, 65, (1, 12))
    before = model(ids)
    store(model, weights)
    whole = model(ids).float()
    worst = {"bf16": 0.06, "int8": 0.1, "int4": 1.0}[weights] * before.std()
    assert 0 < (whole - before).abs().max() < worst
    cache = model.new_cache(1)
    model(ids[:, :-1], cache)
    last = model(ids[:, -1:], cache)[0, -1].float()
    torch.testing.assert_close(last, whole[0, -1], rtol=0, atol=0.02)
    if model.bigram is None:
        decoder = BatchDecoder(model, seats=2)
        decoder.read({1: ids[0, :-1].tolist()})
        last = decoder.step({1: int(ids[0, -1])})[0].float()
        torch.testing.assert_close(last, whole[0, -1], rtol=0, atol=0.02)


def test_rows_that_the_products_can_t_read_stay_as_they_are():
    """PyTorch's 8-bit product reads past rows of other lengths: it gives infinities, or crashes."""
    model = GPT(modern_config(n_heads=2, d_model=40, zero_head=False), 65).eval()
    ids = torch.arange(12)[None]
    store(model, "bf16")
    before = model(ids)
    store(model, "int8")
    kinds = {type(layer) for layer in (model.head, model.blocks[0].mlp.up, model.blocks[0].attn.q)}
    assert kinds == {nn.Linear}
    assert type(model.blocks[0].mlp.down) is Linear8  # 160 inputs
    assert (model(ids) - before).abs().max() < 0.1 * before.std()
    for kind in (Linear8, Linear4):
        with pytest.raises(WhenceError, match="a layer of 40 inputs can't be stored in 8 or 4"):
            kind(nn.Linear(40, 8))


def test_they_take_less_memory():
    def size(weights) -> int:
        model = GPT(gpt2_config(d_model=256), 65).eval()
        store(model, weights)
        return sum(x.nbytes for x in (*model.parameters(), *model.buffers()))

    sizes = [size(weights) for weights in ("fp32", "bf16", "int8", "int4")]
    assert sizes[0] == 2 * sizes[1]
    assert 0.5 < sizes[2] / sizes[1] < 0.6
    assert 0.5 < sizes[3] / sizes[2] < 0.75


def test_what_cannot_be_stored_so_is_refused():
    with pytest.raises(WhenceError, match="only a GPT's weights can be stored as int8"):
        store(build(LSTMConfig(), 65), "int8")
    with pytest.raises(WhenceError, match="weights 'int2': choose from fp32, bf16, int8, int4"):
        store(GPT(GPTConfig(), 65), "int2")  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("runs") / "bottles", RECIPE)
    finish(made)
    return made


def test_a_run_writes_with_them(run, capsys):
    for weights in ("fp32", "bf16", "int8", "int4"):
        words = ("generate", run.path, "ten", "--greedy", "--weights", weights, "--json")
        assert whence(*words) == 0
        told = json.loads(capsys.readouterr().out)["samples"][0]["text"]
        model = run.model()
        store(model, weights)
        assert told == generate(model, run.tokenizer, "ten", max_tokens=300, temperature=0)[0]
    assert whence("generate", run.path, "--weights", "int3") == 2
    assert "int3" in capsys.readouterr().err


def test_why_says_that_an_answer_was_written_with_them(run, capsys):
    Answer("chat-00", len(run.steps), [1, 2], [3], "int8").save(run.path)
    assert whence("why", run.path, "--answer", "chat-00") == 0
    said = "written with int8 weights; what follows has the run's own weights"
    assert said in capsys.readouterr().err
