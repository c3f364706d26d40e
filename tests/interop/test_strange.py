"""Rules of cutting that strangers wrote: those that explode are ended, all others cut as theirs."""

import json

import pytest
from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tests.interop.theirs import NASTY, byte_level, sentencepiece_bpe, unigram
from whence.data.tokenizers import load_tokenizer, strange
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.interop.imported_tokens import made_tokenizer
from whence.interop.pretokenizers import RULES

UNKNOWN = r"\p{Lu}?\p{Ll}+|\s+|\d{1,2}|."  # harmless, but nobody knows it


def split(regex: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def replace(old: str, new: str, kind: str = "String") -> dict:
    return {"type": "Replace", "pattern": {kind: old}, "content": new}


def file(regex: str = "", **parts) -> dict:
    """A byte-level tokenizer.json, cut by a rule deep inside of it, or with other parts."""
    told = json.loads(byte_level().to_str())
    if regex:
        inner = {"type": "Sequence", "pretokenizers": [split(regex)]}
        rest = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        steps = [inner, {**rest, "use_regex": False}]
        told["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    return {**told, **parts}


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "normalizers": list(steps)}


DOUBLED = [replace("a", "b" * 2), replace("b", "a" * 2)]


def test_what_models_use_is_known_to_be_harmless():
    assert strange.QWEN2 == PRETOKENIZE_REGEX
    assert TikTokenConverter().pattern == strange.LLAMA3
    for tokenizer in (*map(byte_level, RULES), sentencepiece_bpe(), unigram()):
        assert strange.strange_rules(json.loads(tokenizer.to_str())) == []


def test_a_rule_that_nobody_knows_cuts_as_theirs():
    theirs = Tokenizer.from_str(json.dumps(file(UNKNOWN)))
    ours = made_tokenizer({"tokenizer": file(UNKNOWN)}, "x")
    for text in NASTY:
        assert ours.parse(text).tolist() == theirs.encode(text, add_special_tokens=False).ids
        if "<|" not in text:
            assert ours.encode(text).tolist() == theirs.encode(text).ids
    assert set(ours.encode("<|im_end|>")).isdisjoint(ours.special.values())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (file(r"(a+)+$"), r"'\(a\+\)\+\$'"),
        (file(r"(\w+\s?)*:"), r"'\(\\w\+"),
        (file(r"a*a*a*[bz]|."), r"'a\*a\*a\*\[bz\]\|\.'"),
        (file(normalizer=sequence(replace(r"(x|xx)+[yz]", "", "Regex"))), "x|xx"),
        (file(normalizer=sequence(sequence(*DOUBLED * 20))), "'a'"),
        (file(normalizer=sequence(*[{"type": "ByteLevel"}] * 40)), "a sequence of 41 parts"),
    ],
)  # fmt: skip
def test_a_rule_that_explodes_is_refused_by_its_name(told, said, monkeypatch):
    monkeypatch.setattr(strange, "SECONDS", 0.3)
    monkeypatch.setattr(strange, "MEMORY", 1 << 30)
    with pytest.raises(WhenceError, match=rf"x/tokenizer\.json: .*rule.*{said}"):
        made_tokenizer({"tokenizer": told}, "x/tokenizer.json")


def test_nothing_is_run_as_a_file_is_opened(monkeypatch):
    """Tokens that are looked for first are normalized as the library opens a file."""
    monkeypatch.setattr(strange, "OPENING", 0.5)
    token = {"id": 400, "content": "x" * 3000 + "!z", "special": False, "normalized": True}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    slow = replace("x*x*x*[yz]", "", "Regex")
    told = file(normalizer=slow, added_tokens=[{**token, **plain}])
    with pytest.raises(WhenceError, match=r"x\*x\*x"):
        ImportedTokenizer({"tokenizer": told})


def test_ours_isn_t_opened_either_with_the_steps_of_others(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(file(normalizer=sequence(*DOUBLED * 20))))
    with pytest.raises(WhenceError, match="isn't a byte-level BPE"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_text_that_is_refused_does_no_harm_to_the_next(monkeypatch):
    ours = ImportedTokenizer({"tokenizer": file(r"q*q*q*[yz]|\s+|.")})
    want = Tokenizer.from_str(json.dumps(file(r"q*q*q*[yz]|\s+|."))).encode("a quiz").ids
    with monkeypatch.context() as patched:
        patched.setattr(strange, "SECONDS", 0.3)
        with pytest.raises(WhenceError, match="shorten it"):
            ours.encode("q" * 20_000)
    assert ours.encode("a quiz").tolist() == want
    with pytest.raises(WhenceError, match="surrogate"):
        ours.encode("a\ud83d")


def test_a_rule_that_can_t_be_read_is_told():
    with pytest.raises(WhenceError, match="can't be read"):
        made_tokenizer({"tokenizer": file("(a")}, "x")
