"""Logits and gradients against transformers' GPT-2, Llama and Qwen3 with the same weights."""

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.models.hf import copy_gpt2, copy_llama, llama_name
from whence.models import GPT, gpt2_config, llama_config, qwen3_config

V, T = 37, 24
SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": T}


def theirs_llama(config, model, **settings):
    sizes = {
        "vocab_size": V,
        "hidden_size": 32,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": T,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return model(config(**{**sizes, **settings}))


def close_to(name):
    return lambda message: f"gradient of {name}: {message}"


def same(theirs, ours, grads):
    """Logits, loss and every gradient agree."""
    tokens = torch.randint(0, V, (3, T))
    got, want = ours(tokens), theirs(input_ids=tokens).logits
    torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-5)
    for logits in (got, want):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in theirs.named_parameters():
        for mine, its in grads(name, parameter.grad):
            got_grad = ours.get_parameter(mine).grad
            torch.testing.assert_close(got_grad, its, rtol=1e-4, atol=2e-5, msg=close_to(name))


@pytest.mark.parametrize("form", ["formula", "fast"])
@pytest.mark.parametrize("tied", [True, False])
def test_gpt2(form, tied):
    torch.manual_seed(1)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=V,
            n_positions=T,
            n_embd=32,
            n_layer=2,
            n_head=4,
            initializer_range=0.2,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            bos_token_id=None,
            eos_token_id=None,
            tie_word_embeddings=tied,
        )
    )
    for p in theirs.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, mean=p.mean().item(), std=0.1)
    ours = GPT(gpt2_config(attention=form, tied_embeddings=tied, **SIZES), V)
    copy_gpt2(theirs, ours)

    def grads(name, grad):
        if "c_attn" in name:
            layer, kind = name.split(".")[2], name.split(".")[-1]
            for x, part in zip("qkv", grad.split(32, -1), strict=True):
                yield f"blocks.{layer}.attn.{x}.{kind}", part.t()
        elif name == "transformer.wte.weight":
            yield "embed.weight", grad
        elif name == "transformer.wpe.weight":
            yield "positions.weight", grad
        elif "mlp.c_fc.weight" in name:
            yield f"blocks.{name.split('.')[2]}.mlp.up.weight", grad.t()
        elif "ln_1" in name:
            yield f"blocks.{name.split('.')[2]}.norm1.{name.split('.')[-1]}", grad

    same(theirs, ours, grads)


@pytest.mark.parametrize("form", ["formula", "fast"])
@pytest.mark.parametrize("kv", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_llama(form, kv, tied):
    torch.manual_seed(2)
    theirs = theirs_llama(
        LlamaConfig,
        LlamaForCausalLM,
        num_key_value_heads=kv,
        tie_word_embeddings=tied,
        rms_norm_eps=1e-6,
    )
    ours = GPT(
        llama_config(attention=form, n_kv_heads=kv, tied_embeddings=tied, d_ff=96, **SIZES), V
    )
    copy_llama(theirs, ours)
    same(theirs, ours, lambda name, grad: [(llama_name(name), grad)])


@pytest.mark.parametrize("form", ["formula", "fast"])
@pytest.mark.parametrize("kv", [4, 2])
def test_qwen3(form, kv):
    torch.manual_seed(3)
    theirs = theirs_llama(
        Qwen3Config,
        Qwen3ForCausalLM,
        num_key_value_heads=kv,
        head_dim=16,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
    )
    for name, p in theirs.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(p, 0.5, 1.5)
    ours = GPT(qwen3_config(attention=form, n_kv_heads=kv, d_head=16, d_ff=96, **SIZES), V)
    copy_llama(theirs, ours)
    same(theirs, ours, lambda name, grad: [(llama_name(name), grad)])
