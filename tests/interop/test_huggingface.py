"""Hugging Face folders come in: logits, greedy text and cache against the transformers library."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.interop.theirs import MODELS, byte_level, folder, greedy, theirs
from whence import Run
from whence.data import text_source
from whence.errors import WhenceError
from whence.interop.huggingface import open_folder
from whence.interop.importing import find_model, import_model
from whence.models import GPT
from whence.runs.questions.embed import cosines
from whence.runs.summary import state_of_summary, summary_of

TEXT = text_source("bottles", lambda: [f"{i} bottles of beer on the wall.\n" for i in range(200)])


def built(path: Path) -> GPT:
    found = find_model(path)
    model = GPT(found.config, found.tokenizer.vocab_size).eval()
    model.load_state_dict(found.weights())
    return model


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_text_are_theirs(name, tmp_path):
    model = theirs(name)
    ours = built(folder(tmp_path / "model", model))
    tokens = torch.randint(0, 400, (2, 64))
    with torch.inference_mode():
        want, got = model(input_ids=tokens).logits, ours(tokens)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        cache = ours.new_cache(2)
        steps = [
            ours(tokens[:, :9], cache),
            *(ours(tokens[:, i, None], cache) for i in range(9, 64)),
        ]
        torch.testing.assert_close(torch.cat(steps, 1), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama 3", "arcee", "qwen2", "qwen3"])
def test_a_run_writes_what_they_write(name, tmp_path):
    model = theirs(name)
    run = import_model(folder(tmp_path / "model", model), tmp_path / "run", TEXT)
    ids = run.tokenizer.encode("99 bottles").tolist()
    wanted = greedy(model, ids, 64 - len(ids))[len(ids) :]
    # The end mark is the end for us; theirs was told to go on.
    ends = [i for i, token in enumerate(wanted) if token in run.tokenizer.ends]
    wanted = wanted[: ends[0]] if ends else wanted
    got = run.generate("99 bottles", temperature=0, max_tokens=64 - len(ids))
    assert got == run.tokenizer.decode(wanted).rstrip("\ufffd")  # a half character at the end


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_in_to_the_bit(dtype, tmp_path):
    model = theirs("llama").to(dtype)
    ours = built(folder(tmp_path, model))
    want = model.state_dict()["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(ours.blocks[1].mlp.down.weight, want.float())


def test_shards_and_names_without_a_head(tmp_path):
    model = theirs("llama, tied")
    whole = built(folder(tmp_path / "whole", model))
    parts = folder(tmp_path / "parts", model, max_shard_size="20KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    bare = folder(tmp_path / "bare", model)
    model.model.save_pretrained(tmp_path / "bare")
    config = json.loads((tmp_path / "whole/config.json").read_text())
    (bare / "config.json").write_text(json.dumps(config))
    tokens = torch.randint(0, 400, (1, 30))
    with torch.inference_mode():
        for path in (parts, bare):
            assert torch.equal(built(path)(tokens), whole(tokens))


def test_an_imported_run_is_a_run_like_any_other(tmp_path):
    run = import_model(folder(tmp_path / "model", theirs("qwen3")), tmp_path / "run", TEXT)
    assert (run.state, run.checkpoints, run.origin.how) == ("new", [0], "import")
    run = Run.open(run.path)
    assert run.evaluate().loss > 0
    assert run.evaluate("99 bottles of beer on the wall.").n_tokens > 0
    before = run.model().state_dict()["embed.weight"].clone()
    moment = run.at(0)
    number = moment.trace("99 bottles of beer")["logits"][0, 1, 5]
    assert number.why().residual is not None
    for name in ("new", "finished"):
        assert run.state == state_of_summary(run.path, summary_of(run.path)) == name
        for _ in run.train(3) if name == "new" else ():
            pass
    assert cosines(run, ["99 bottles", "the wall", "99 bottles"])[0][2] == pytest.approx(1)
    assert [r["step"] for r in run.steps] == [0, 1, 2]
    assert torch.equal(Run.open(run.path).model(0).state_dict()["embed.weight"], before)
    assert not torch.equal(Run.open(run.path).model("last").state_dict()["embed.weight"], before)
    from whence.runs.questions.growth import growth
    from whence.studio.answers import answer

    named = {"run": "run"}
    told = answer("live", named, tmp_path)
    assert told["origin"].startswith("imported from")
    read = {**named, "step": 0, "text": "99 bottles"}
    assert answer("prediction", {**named, "prompt": "99 bottles"}, tmp_path)["prompt"]
    assert answer("flow", read, tmp_path)["stages"]
    assert answer("receipt", {**read, "address": "loss"}, tmp_path)
    assert growth(Run.open(run.path), "99 bottles").steps == [0, 2, 3]


def refused(path: Path) -> str:
    with pytest.raises(WhenceError) as caught:
        open_folder(path).weights()
    return str(caught.value)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("good") / "model", theirs("llama"))


@pytest.fixture
def model(good, tmp_path) -> Path:
    return shutil.copytree(good, tmp_path / "model")


def change(path: Path, **values) -> None:
    tree = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in tree.items() if v is not None}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "gemma2"}, "norms on both sides"),
        ({"model_type": "mixtral"}, "experts"),
        ({"model_type": "nobody_knows"}, "gpt2, llama, mistral, arcee, qwen2, qwen3 can be read"),
        ({"model_type": None}, "lacks model_type"),
        ({"hidden_act": "tanh"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1.0}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "more than 1"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": -2.0}}, "factor is -2.0"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 1.0}}, "rotates 0.5"),
        ({"num_hidden_layers": 10**9}, "1,000,000,000 layers"),
        ({"num_hidden_layers": 3}, "too few for the 3 layers"),
        ({"num_hidden_layers": 1}, "isn't in its config"),
        ({"num_hidden_layers": "two"}, "must be 1 or more"),
        ({"hidden_size": 64}, "by its config"),
        ({"num_key_value_heads": 3}, "can't share"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rms_norm_eps": "nan"}, "must be a number"),
    ],
)
def test_a_config_that_lies_or_asks_too_much(model, values, said):
    change(model / "config.json", **values)
    assert said in refused(model)


def test_files_that_are_missing_or_damaged(model):
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-7])
    assert "damaged" in refused(model)
    (model / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + weights[8:])
    assert "damaged" in refused(model)
    (model / "model.safetensors").unlink()
    assert "model.safetensors" in refused(model)
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert "pickle" in refused(model)
    change(model / "config.json")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    assert "a file in the same folder" in refused(model)


def test_a_weight_with_a_dimension_too_many(tmp_path):
    path = folder(tmp_path / "model", theirs("gpt2"))
    weights = load_file(path / "model.safetensors")
    (name,) = [name for name in weights if name.endswith("h.0.mlp.c_fc.weight")]
    save_file(weights | {name: weights[name][None]}, path / "model.safetensors")
    assert "by its config" in refused(path)


def test_weights_too_large_to_be_mapped(model, monkeypatch):
    def without_room(*_, **__):
        raise MemoryError

    monkeypatch.setattr("whence.interop.huggingface.safe_open", without_room)
    size = (model / "model.safetensors").stat().st_size
    assert f"has {size:,} bytes, more than this process may take" in refused(model)


def test_a_template_that_is_no_text(model):
    (model / "chat_template.jinja").write_bytes(b"{{ \xff }}")
    assert "chat_template.jinja can't be read as text" in refused(model)
    with (model / "chat_template.jinja").open("r+b") as file:
        file.truncate(1 << 40)  # it takes no disk
    assert "chat_template.jinja is larger than 256 MB" in refused(model)


def test_a_tokenizer_that_is_missing_or_too_large(model):
    (model / "tokenizer.json").write_text(byte_level(size=500).to_str())
    assert "belong together" in refused(model)
    (model / "tokenizer.json").write_text("{}")
    assert "damaged" in refused(model)
    (model / "tokenizer.json").unlink()
    assert "no tokenizer.json" in refused(model)


def test_nothing_is_left_of_an_import_that_failed(model, tmp_path):
    change(model / "config.json", num_hidden_layers=3)
    with pytest.raises(WhenceError):
        import_model(model, tmp_path / "runs" / "x", TEXT)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_where_nothing_is(tmp_path):
    for where, said in {
        tmp_path / "nothing": "there is no model",
        tmp_path: "no config.json",
        Path("x.bin"): "pickle",
    }.items():
        with pytest.raises(WhenceError, match=said):
            find_model(where)
