"""Models go out: loaded by transformers and onnxruntime, they compute the same."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from tests.interop.test_gguf import FORMS, SIZES, model, tokenizer
from tests.interop.theirs import NASTY, TEMPLATE, fast, folder, theirs
from tests.runs.tiny import RECIPE, finish, make
from whence.data import text_source
from whence.errors import WhenceError
from whence.interop.exporting import export_model, write_hugging_face
from whence.interop.huggingface import open_folder
from whence.interop.importing import import_model
from whence.interop.layouts import exportable, layout_of
from whence.models import GPT, GPTConfig, RNNConfig, gpt2_config, llama_config, modern_config
from whence.models.layers.rope_scaling import RopeScaling
from whence.runs.run import Run

TEXT = text_source("bottles", lambda: [f"{i} bottles of beer on the wall.\n" for i in range(300)])
CLASSES = {
    "gpt2": hf.GPT2LMHeadModel,
    "llama": hf.LlamaForCausalLM,
    "arcee": hf.ArceeForCausalLM,
    "qwen2": hf.Qwen2ForCausalLM,
    "qwen3": hf.Qwen3ForCausalLM,
}
MORE = {
    "llama, yarn": llama_config(
        **SIZES, rope_scaling=RopeScaling("yarn", 4.0, 1.0, 32.0, 256, attention_factor=1.2)
    ),
    "gpt2, relu, no biases": replace(
        gpt2_config(**SIZES), activation="relu", bias=False, qkv_bias=False
    ),
    "modern, biases": modern_config(**SIZES, bias=True, qkv_bias=True),
    "modern, some biases": modern_config(**SIZES, qkv_bias=True),
    "modern, norms with a weight": modern_config(**SIZES, norm_weight=True, activation="gelu"),
    "modern, layer": modern_config(**SIZES, positions="learned", norm="layer"),
    "geglu": modern_config(**SIZES, activation="geglu", qk_norm=True),
}


@pytest.mark.parametrize("name", [*FORMS, *MORE])
def test_transformers_loads_it_and_computes_the_same(name, tmp_path):
    tokens = tokenizer()
    ours = model({**FORMS, **MORE}[name], tokens.vocab_size)
    write_hugging_face(ours, tokens, tmp_path / "m")
    loaded, info = hf.AutoModelForCausalLM.from_pretrained(
        tmp_path / "m", output_loading_info=True, trust_remote_code=False
    )
    assert type(loaded) is CLASSES[layout_of(ours.config)]
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    x = torch.randint(0, tokens.vocab_size, (2, 40))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(input_ids=x).logits, ours(x), rtol=1e-4, atol=1e-4)
        found = open_folder(tmp_path / "m")
        again = GPT(found.config, tokens.vocab_size).eval()
        again.load_state_dict(found.weights())
        assert torch.equal(again(x), ours(x))
    assert loaded.generation_config.eos_token_id in (2, [2])


@pytest.mark.parametrize("kind", ["chars", "words", "bytes", "bpe"])
def test_a_model_trained_here_writes_the_same_there(kind, tmp_path):
    cats = text_source("cats", lambda: ["the cat sat on the mat. the dog sat on the log.\n"] * 60)
    recipe = replace(RECIPE, data=replace(RECIPE.data, tokenizer=kind), steps=40)
    run = Run.create(recipe, tmp_path / "run", cats)
    finish(run)
    path = export_model(run, "hf", tmp_path / "out")
    loaded = hf.AutoModelForCausalLM.from_pretrained(path).eval()
    tokens = hf.AutoTokenizer.from_pretrained(path)
    prompt = "the tac"  # a word that isn't known
    ids = torch.tensor([tokens(prompt).input_ids])
    room = 16 - ids.shape[1]
    with torch.inference_mode():
        out = loaded.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=room,
            pad_token_id=0,
        )  # fmt: skip
    there = tokens.decode(out[0, ids.shape[1] :], clean_up_tokenization_spaces=False)
    assert there == run.generate(prompt, temperature=0, max_tokens=room)
    back = import_model(path, tmp_path / "back", cats)
    assert back.generate(prompt, temperature=0, max_tokens=room) == there


def test_template_tokens_and_advice_go_out_with_it(tmp_path):
    source = folder(tmp_path / "hf", theirs("llama"))
    advice = {"temperature": 0.2, "top_p": 0.9, "do_sample": True, "eos_token_id": [2, 0]}
    (source / "generation_config.json").write_text(json.dumps(advice))
    run = import_model(source, tmp_path / "run", TEXT)
    path = export_model(run, "hf", tmp_path / "out")
    tokens = hf.AutoTokenizer.from_pretrained(path)
    assert tokens.chat_template == TEMPLATE
    assert tokens.eos_token == "<|im_end|>"
    before = fast(run.tokenizer.hugging_face)
    for text in NASTY:
        assert tokens(text).input_ids == before(text).input_ids
    loaded = hf.GenerationConfig.from_pretrained(path)
    assert (loaded.temperature, loaded.top_p, loaded.eos_token_id) == (0.2, 0.9, [2, 0])
    again = import_model(path, tmp_path / "again", TEXT)
    assert again.tokenizer.record == run.tokenizer.record
    one, two = (r.model().state_dict() for r in (run, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("dtype", "kept"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_goes_out_rounded_once(dtype, kept, tmp_path):
    run = make(tmp_path / "run", steps=3)
    finish(run)
    path = export_model(run, "hf", tmp_path / "out", dtype=dtype)
    name = "model.layers.0.mlp.up_proj.weight"
    weights = load_file(path / "model.safetensors")
    ours = run.model().state_dict()["blocks.0.mlp.up.weight"]
    assert torch.equal(weights[name], ours.to(kept))
    assert json.loads((path / "config.json").read_text())["dtype"] == str(kept)[6:]


@pytest.mark.slow
def test_onnxruntime_computes_the_same(tmp_path):
    for name in ("gpt2", "qwen3", "modern"):
        tokens = tokenizer()
        ours = model(FORMS[name], tokens.vocab_size)
        from whence.interop.onnx_writing import write_onnx

        write_onnx(ours, tmp_path / "m.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        for shape in ((1, 1), (3, 17), (2, 64)):
            x = torch.randint(0, tokens.vocab_size, shape)
            (got,) = session.run(None, {"tokens": x.numpy()})
            with torch.inference_mode():
                np.testing.assert_allclose(got, ours(x).numpy(), rtol=1e-4, atol=1e-4)


def test_safetensors_hold_our_names_of_any_model(tmp_path):
    run = make(tmp_path / "run", model=RNNConfig(d_model=16, context_length=16), steps=3)
    finish(run)
    weights = load_file(export_model(run, "safetensors", tmp_path / "m.safetensors"))
    ours = run.model().state_dict()
    assert all(torch.equal(weights[name], ours[name]) for name in ours)


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (modern_config(), set()),
        (modern_config(bigram_embedding=True, positions="none", norm="none"), {"bigram_embedding",
         "positions", "norm"}),
        (gpt2_config(activation="swiglu", n_kv_heads=2), {"activation", "n_kv_heads"}),
        (modern_config(qk_norm=True), {"qk_norm"}),
        (modern_config(causal=False, without=("attention",)), {"causal", "without"}),
    ],
)  # fmt: skip
def test_exportable_changes_what_stands_in_the_way_alone(config, changed):
    kept = exportable(config)
    assert layout_of(kept)
    names = GPTConfig.__dataclass_fields__
    assert {n for n in names if getattr(kept, n) != getattr(config, n)} == changed


def test_what_can_t_go_out_is_said(tmp_path):
    run = make(tmp_path / "run", steps=2, model=GPTConfig(
        n_layers=1, n_heads=2, d_model=16, context_length=16, bigram_embedding=True))  # fmt: skip
    finish(run)
    for form, dtype, said in [
        ("hf", "auto", "no published layout has bigram_embedding"),
        ("gguf", "auto", "no published layout has bigram_embedding"),
        ("safetensors", "q8_0", "writes fp32, fp16, bf16"),
        ("onnx", "bf16", "--to onnx writes fp32"),
    ]:
        with pytest.raises(WhenceError, match=said):
            export_model(run, form, tmp_path / "out", dtype=dtype)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(WhenceError, match="already exists"):
        export_model(run, "safetensors", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_goes_out_needs_nothing_of_ours(tmp_path):
    """A process that never imports whence loads it and writes with it."""
    run = make(tmp_path / "run", steps=3)
    finish(run)
    path = export_model(run, "hf", tmp_path / "out")
    code = (
        "import sys, transformers as hf; p = sys.argv[1]; m = hf.AutoModelForCausalLM"
        ".from_pretrained(p); t = hf.AutoTokenizer.from_pretrained(p); i = t('99 ', "
        "return_tensors='pt'); print(t.decode(m.generate(**i, max_new_tokens=5, do_sample=False, "
        "pad_token_id=0)[0])); assert 'whence' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=tmp_path,
        check=True,
    )  # fmt: skip
    assert done.stdout.startswith("99 ")


def test_training_begins_with_the_weights_of_an_imported_model(tmp_path):
    from tests.cli.command import whence

    run = import_model(folder(tmp_path / "hf", theirs("llama")), tmp_path / "run", TEXT)
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat.\n" * 60, encoding="utf-8")
    words = ["--steps", 4, "--window", 16, "--hardware.precision", "fp32"]
    assert whence("train", "--from", run.path, text, "--out", tmp_path / "tuned", *words) == 0
    tuned = Run.open(tmp_path / "tuned")
    assert (tuned.origin.how, tuned.state, tuned.recipe.window) == ("start", "finished", 16)
    assert tuned.steps[0]["loss"] > tuned.steps[-1]["loss"]
    assert tuned.tokenizer.record == run.tokenizer.record
    for name, weight in tuned.model(0).state_dict().items():
        assert torch.equal(weight, run.model().state_dict()[name])
    assert whence("verify", tuned.path) == 0
    assert (
        whence("train", "--from", run.path, text, "--model", "gpt2", "--out", tmp_path / "x") == 2
    )
    wider = ["--model.d-model", "64", "--out", tmp_path / "x"]
    assert whence("train", "--from", run.path, text, *wider) == 2
    assert not (tmp_path / "x").exists()


def test_the_verbs(tmp_path, capsys, monkeypatch):
    from tests.cli.command import whence

    monkeypatch.chdir(tmp_path)
    source = folder(tmp_path / "tiny", theirs("qwen3"))
    Path("text.txt").write_text("the cat sat on the mat.\n" * 300, encoding="utf-8")
    assert whence("import", source, "--text", "text.txt") == 0
    assert "runs/tiny-1" in capsys.readouterr().out
    for form in ("hf", "gguf", "safetensors"):
        assert whence("export", "runs/tiny-1", "--to", form) == 0
    assert sorted(p.name for p in Path("exports").iterdir()) == [
        "tiny-1-hf", "tiny-1.gguf", "tiny-1.safetensors",
    ]  # fmt: skip
    capsys.readouterr()
    assert whence("import", "exports/tiny-1.gguf", "--text", "text.txt", "--out", "runs/b") == 0
    texts = []
    for run in ("runs/tiny-1", "runs/b"):
        assert whence("generate", run, "the cat", "--greedy", "--max-tokens", "9") == 0
        texts.append(capsys.readouterr().out)
    assert whence("import", "nothing.gguf") == 2
    assert "there is no model" in capsys.readouterr().err
