"""Native decoding against the model itself, with the weights as they were rounded."""

import copy
import dataclasses
import math
import threading
from concurrent.futures import Future

import pytest
import torch
from torch import nn

from whence.generate.reader import Reader
from whence.models import GPT, GPTConfig, gpt2_config, llama_config, qwen3_config
from whence.models.gpt import row_decode
from whence.models.gpt.batch_decode import BatchDecoder
from whence.models.gpt.decode import Decoder
from whence.models.gpt.row_decode import RowDecoder
from whence.models.layers.quantized import Linear4, Linear8
from whence.models.layers.side_by_side import side_by_side
from whence.scale.weights import store

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="it has no sched_yield")
SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 64, "context_length": 32}
FORMS = {
    "gpt2": gpt2_config(**SIZES),
    "llama": llama_config(n_kv_heads=2, **SIZES),
    "qwen3": qwen3_config(n_kv_heads=1, d_head=32, **SIZES),
    "modern": GPTConfig(bigram_embedding=True, d_ff=72, **SIZES),
    "geglu": GPTConfig(
        activation="geglu", bias=True, norm="layer", positions="sinusoidal", **SIZES
    ),
    "relu": GPTConfig(activation="relu", norm="none", positions="none", **SIZES),
}
TOKENS = torch.arange(24)[None] * 7 % 50


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(row_decode, "LARGE", 0)


def drawn(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    model = GPT(config, 50).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return model


@torch.inference_mode()
def decoded(model: GPT, first: int = 1) -> torch.Tensor:
    """Logits after each token, the first few read at once."""
    cache = model.new_cache(1)
    assert isinstance(cache.step, RowDecoder)
    found = [model(TOKENS[:, :first], cache)[0]]
    found += [model(TOKENS[:, i : i + 1], cache)[0] for i in range(first, TOKENS.shape[1])]
    return torch.cat([each.float() for each in found])


@torch.no_grad()
def unrounded(model: GPT) -> GPT:
    """A model in fp32 whose weights are those that PyTorch's products compute with."""
    plain = copy.deepcopy(model)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear8 | Linear4):
                n = (
                    layer.q.shape[1]
                    if isinstance(layer, Linear8)
                    else 2 * layer.by_rows[0].shape[1]
                )
                bias, layer.bias = layer.bias, None
                weight = layer(torch.eye(n, dtype=torch.bfloat16)).t()
                made = nn.Linear(n, len(weight), bias=bias is not None)
                made.weight.copy_(weight)
                if bias is not None:
                    made.bias.copy_(bias)
                setattr(parent, name, made)
    return plain.float()


@pytest.mark.parametrize("form", FORMS)
def test_fp32_is_the_models_logits(form):
    model = drawn(FORMS[form])
    want = model(TOKENS)[0]
    store(model, "fp32")
    for first in (1, 9):
        torch.testing.assert_close(decoded(model, first), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("form", FORMS)
def test_rounded_weights_are_computed_with_in_fp32(form, weights):
    """Keys and values are kept in bfloat16: an error of a few thousandths of the largest logit."""
    model = drawn(FORMS[form])
    store(model, weights)
    want = unrounded(model)(TOKENS)[0]
    error = (decoded(model) - want).abs().max() / want.abs().max()
    assert error < 0.012, error


@pytest.mark.parametrize("weights", ["fp32", "bf16", "int8", "int4"])
@pytest.mark.parametrize("form", [name for name in FORMS if name != "modern"])
def test_texts_side_by_side(form, weights):
    """Of different lengths, in seats of no order; alone, by fours, and with some missing."""
    model = drawn(FORMS[form])
    store(model, weights)
    plain, decoder = unrounded(model), BatchDecoder(model, seats=9)
    texts = {8: [3], 2: [1, 4, 1, 5], 5: [9, 2], 0: [6, 5, 3, 5, 8], 7: [9, 7], 3: [9, 3, 2]}
    decoder.read(dict(list(texts.items())[:2]))
    decoder.read(dict(list(texts.items())[2:]))
    for step in range(6):
        said = {seat: (7 * seat + step) % 50 for seat in list(texts)[: (6, 1, 4, 5, 6, 2)[step]]}
        got = decoder.step(said)
        for (seat, token), found in zip(said.items(), got, strict=True):
            texts[seat] = [*texts[seat], token]
            want = plain(torch.tensor([texts[seat]]))[0, -1]
            error = (found - want).abs().max() / want.abs().max()
            assert error < (1e-4 if weights == "fp32" else 0.03), (step, seat, error)


def test_every_bit_is_the_same_for_any_number_of_threads(monkeypatch):
    model = drawn(FORMS["llama"])
    store(model, "int4")
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        row_decode._pool.cache_clear()
        found.append(decoded(model))
    row_decode._pool.cache_clear()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@torch.inference_mode()
def test_after_single_tokens_several_are_read_at_once():
    model = drawn(FORMS["modern"])
    cache, want = model.new_cache(1), model(TOKENS)[0]
    parts = TOKENS.split([2, 1, 1, 5, 1, 3, 1, 10], dim=1)
    got = torch.cat([model(part, cache)[0] for part in parts])
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_keys_and_values_are_rounded_as_pytorch_rounds():
    from numba import njit

    from whence.models.gpt.row_atomics import narrowed, widened

    @njit
    def rounded(x, out):
        for i in range(len(x)):
            out[i] = widened(narrowed(x[i]))

    x = torch.cat((torch.randn(1000), torch.tensor([0.0, -0.0, math.inf, math.nan, 1.00390625])))
    out = torch.empty_like(x).numpy()
    rounded(x.numpy(), out)
    torch.testing.assert_close(torch.from_numpy(out), x.bfloat16().float(), rtol=0, atol=0,
                               equal_nan=True)  # fmt: skip


def test_threads_that_never_come_are_not_missed(monkeypatch):
    """As after a fork, which leaves the pool's threads behind."""
    model = drawn(FORMS["gpt2"])
    want = decoded(model)

    class Nobody:
        def submit(self, *_):
            return Future()

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(row_decode, "_pool", Nobody)
    assert torch.equal(decoded(model), want)


def written(model: GPT, n: int) -> list[int]:
    """The likeliest tokens after a prompt, beyond what fits into the window."""
    reader, found = Reader(model, torch.tensor([[3, 1, 4]])), []
    for _ in range(n):
        found.append(reader.logits().argmax(-1))
        reader.append(found[-1])
    return torch.cat(found).tolist()


def test_a_call_that_was_broken_off_is_waited_for(monkeypatch):
    """As by Ctrl-C: a thread that still helps it mustn't count for the next one."""
    model = drawn(FORMS["gpt2"])
    want = decoded(model)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    cache = model.new_cache(1)
    assert isinstance(cache.step, RowDecoder)
    step, begun, go = cache.step.step, threading.Event(), threading.Event()

    def broken_off(*arguments):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(60)
            raise KeyboardInterrupt
        begun.set()
        assert go.wait(60)
        real(*arguments)

    real, step.step = step.step, broken_off
    with torch.inference_mode():
        model(TOKENS[:, :3], cache)
        with pytest.raises(KeyboardInterrupt):
            model(TOKENS[:, 3:4], cache)
        [helper], step.step = step.asked, real
        threading.Timer(0.2, go.set).start()
        got = model(TOKENS[:, 3:4], cache)[0]
    assert helper.done()
    torch.testing.assert_close(got[0], want[3], rtol=1e-4, atol=1e-4)


def test_texts_longer_than_the_window_are_what_pytorch_writes(monkeypatch):
    model = drawn(FORMS["llama"])
    got = written(model, 70)
    monkeypatch.setattr(row_decode, "LARGE", 10**9)
    assert isinstance(model.new_cache(1).step, Decoder)
    assert got == written(model, 70)


def test_infinite_weights_are_not_hidden():
    model = drawn(FORMS["modern"])
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[3, 5] = float("nan")
    assert decoded(model).isnan().all()


def test_whom_it_is_for(monkeypatch):
    model = drawn(FORMS["llama"])
    assert BatchDecoder(model, seats=2).native
    assert not BatchDecoder(
        drawn(dataclasses.replace(FORMS["llama"], attention="formula")), 2
    ).native
    assert isinstance(model.new_cache(2).step, Decoder)
    assert model.train().new_cache(1).step is None
    assert isinstance(model.double().eval().new_cache(1).step, Decoder)
    monkeypatch.setattr(row_decode, "LARGE", 1_000_000)
    assert isinstance(drawn(FORMS["llama"]).new_cache(1).step, Decoder)


def test_machine_code_is_kept_as_long_as_its_text_stays():
    from whence.models.gpt.row_step import _made

    cells = [_made(text).py_func.__closure__[0].cell_contents for text in ("a", "b")]
    assert cells == ["a", "b"]  # numba takes what is around a function into its key


def test_weights_side_by_side_are_the_same_and_stay_tied():
    model = drawn(FORMS["gpt2"])
    before = {name: each.clone() for name, each in model.state_dict().items()}
    store(model, "fp32")
    assert len({each.untyped_storage().data_ptr() for each in model.parameters()}) == 1
    assert model.head.weight is model.embed.weight
    after = model.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert all(each.data_ptr() % 64 == 0 for each in after.values())


def test_weights_of_odd_sizes_begin_where_a_line_of_memory_does():
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    before = {name: each.clone() for name, each in net.state_dict().items()}
    side_by_side(net)
    after = net.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert all(each.data_ptr() % 64 == 0 for each in after.values())
