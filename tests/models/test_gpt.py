"""The GPT as a whole: forms, cache, twins, removable parts, errors."""

import pytest
import torch
from torch import nn

from whence.errors import WhenceError
from whence.models import (
    GPT,
    GPTConfig,
    gpt2_config,
    llama_config,
    modern_config,
    qwen3_config,
)

V = 11
SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": 16}
FORMS = {
    "modern": lambda **s: modern_config(zero_head=False, **s),
    "bigram": lambda **s: modern_config(zero_head=False, bigram_embedding=True, **s),
    "gpt2": gpt2_config,
    "llama": lambda **s: llama_config(n_kv_heads=2, **s),
    "qwen3": lambda **s: qwen3_config(d_head=16, n_kv_heads=1, **s),
    "sinusoidal": lambda **s: gpt2_config(positions="sinusoidal", activation="gelu", **s),
    "bare": lambda **s: gpt2_config(positions="none", norm="none", activation="relu", **s),
    "geglu": lambda **s: llama_config(
        activation="geglu", norm="layer", qk_norm=True, bias=True, **s
    ),
}


def model_of(name, **settings):
    torch.manual_seed(0)
    model = GPT(FORMS[name](**{**SIZES, **settings}), V)
    if model.bigram is not None:
        nn.init.normal_(model.bigram.weight)
    return model


def close_to(name):
    return lambda message: f"gradient of {name}: {message}"


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("form", ["formula", "fast"])
@pytest.mark.parametrize("batch", [1, 3])
def test_cache_equals_the_full_forward(name, form, batch):
    model = model_of(name, attention=form).eval()
    tokens = torch.randint(0, V, (batch, 16))
    with torch.inference_mode():
        want, cache = model(tokens), model.new_cache(batch)
        parts = [model(part, cache) for part in tokens.split([5, 1, 1, 6, 1, 2], dim=1)]
    assert cache.length == 16
    assert (cache.step is not None) == (form == "fast")
    torch.testing.assert_close(torch.cat(parts, 1), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_fast_twin_has_the_formulas_loss_and_gradients(name):
    models = [model_of(name, attention=form) for form in ("formula", "fast")]
    tokens = torch.randint(0, V, (2, 16))
    for model in models:
        model(tokens).logsumexp(-1).square().sum().backward()
    for (key, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4, msg=close_to(key))


@pytest.mark.parametrize("name", FORMS)
def test_no_token_sees_a_later_one(name):
    model, tokens = model_of(name), torch.randint(0, V, (2, 16))
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % V
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_an_encoder_sees_all():
    model, tokens = model_of("modern", causal=False), torch.randint(0, V, (1, 16))
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % V
    assert not torch.allclose(model(tokens)[:, 0], model(changed)[:, 0])


@pytest.mark.parametrize("form", ["formula", "fast"])
def test_bf16_autocast_stays_close_and_whole_model_runs_in_bf16(form):
    model, tokens = model_of("modern", attention=form), torch.randint(0, V, (2, 16))
    want = model(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        got = model(tokens)
    torch.testing.assert_close(got.float(), want, rtol=0.1, atol=0.1)
    assert model.bfloat16()(tokens).dtype == torch.bfloat16


def test_same_seed_same_weights():
    one, two = model_of("gpt2").state_dict(), model_of("gpt2").state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_start():
    model = GPT(gpt2_config(n_layers=8), 65)
    assert model.blocks[0].attn.q.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.blocks[0].attn.o.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert model.head.weight is model.embed.weight
    tokens = torch.randint(0, 65, (1, 20))
    uniform = GPT(modern_config(), 65)(tokens)  # zero_head: the first guess is uniform
    assert torch.equal(uniform, torch.zeros_like(uniform))
    model = GPT(modern_config(zero_residual=True, zero_head=False, norm="none"), 65)
    torch.testing.assert_close(model(tokens), model.head(model.embed(tokens)))


@pytest.mark.parametrize(
    "without", [("attention",), ("feed_forward",), ("attention", "feed_forward"), ("residual",)]
)
def test_parts_can_be_taken_out(without):
    model = model_of("gpt2", without=without)
    tokens = torch.randint(0, V, (2, 16))
    model(tokens).sum().backward()
    names = " ".join(name for name, _ in model.named_parameters())
    assert ("attn" in names) == ("attention" not in without)
    assert ("mlp" in names) == ("feed_forward" not in without)
    if without == ("residual",):
        whole = model_of("gpt2")
        whole.load_state_dict(model.state_dict())
        assert not torch.allclose(model(tokens), whole(tokens))


def test_names_read_as_addresses():
    names = {name for name, _ in model_of("llama").named_parameters()}
    assert {
        "embed.weight",
        "blocks.0.norm1.weight",
        "blocks.0.attn.q.weight",
        "blocks.1.attn.o.weight",
        "blocks.1.mlp.gate.weight",
        "norm.weight",
        "head.weight",
    } <= names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_layers": 0}, "n_layers is 0"),
        ({"d_ff": -1}, "d_ff is -1"),
        ({"n_kv_heads": 0}, "n_kv_heads is 0"),
        ({"d_model": 130, "n_heads": 4}, "use d_model = 128 or n_heads = 5"),
        ({"n_kv_heads": 3}, "use n_kv_heads = 2"),
        ({"d_model": 12, "n_heads": 4}, "d_head = 4"),
        ({"positions": "sinusoidal", "d_model": 7, "n_heads": 1}, "d_model = 8"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"rope_base": 0.0}, "rope_base"),
        ({"tied_embeddings": True}, "zero_head"),
        ({"without": ("residual", "attention")}, "nothing"),
    ],
)
def test_sizes_that_cannot_be(settings, words):
    with pytest.raises(WhenceError, match=words):
        GPTConfig(**settings)


def test_other_errors():
    model = model_of("gpt2")
    with pytest.raises(WhenceError, match="17 tokens long"):
        model(torch.zeros(1, 17, dtype=torch.long))
    cache = model.new_cache(1)
    model(torch.zeros(1, 16, dtype=torch.long), cache)
    with pytest.raises(WhenceError, match="at most 16"):
        model(torch.zeros(1, 1, dtype=torch.long), cache)
    with pytest.raises(WhenceError, match="bigram_embedding"):
        GPT(modern_config(bigram_embedding=True), 50_000)
