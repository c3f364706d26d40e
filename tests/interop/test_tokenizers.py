"""Tokenizers come in and go out: ids against the tokenizers and transformers libraries."""

import json
import unicodedata

import gguf
import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.interop.theirs import CORPUS, NASTY, byte_level, fast, sentencepiece_bpe, unigram
from whence.data.tokenizers import load_tokenizer, train_tokenizer
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.data.tokenizers.length import TooLongError, check_length, ending, least_tokens
from whence.errors import WhenceError
from whence.generate.text import TextStream
from whence.interop.gguf.reading import Fields
from whence.interop.gguf.tokens import read_tokenizer
from whence.interop.pretokenizers import RULES
from whence.interop.tokenizers_out import tokenizer_file

THEIRS = {
    **{rule: lambda rule=rule: byte_level(rule) for rule in RULES},
    "sentencepiece": sentencepiece_bpe,
    "sentencepiece, always a space": lambda: sentencepiece_bpe("always"),
    "unigram": unigram,
}

SHRINKING = ["\u1100\u1161\u11a8", "\u03b1\u0313\u0301\u0345", "▁", "𝐀", "ﾊﾟ"]


def imported(tokenizer: Tokenizer, **more) -> ImportedTokenizer:
    return ImportedTokenizer({"tokenizer": json.loads(tokenizer.to_str()), **more})


@pytest.fixture(scope="module", params=THEIRS)
def pair(request):
    tokenizer = THEIRS[request.param]()
    return fast(tokenizer, split_special_tokens=True), imported(tokenizer)


@pytest.mark.parametrize("text", NASTY)
def test_ids_are_theirs(pair, text):
    theirs, ours = pair
    if "<s>" in text and ours.hugging_face.model.__class__.__name__ == "Unigram":
        text = text.replace("<s></s>", "")  # theirs takes them for special: see below
    assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False).input_ids
    whole = theirs(text).input_ids
    assert [*ours.beginning, *ours.encode(text).tolist()] == whole


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_ids_of_any_text_are_theirs(pair, text):
    theirs, ours = pair
    if text.isprintable() or text.isascii():  # they refuse surrogates too, in other words
        assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("text", NASTY)
def test_decoding_gives_the_text_back(pair, text):
    _, ours = pair
    back = ours.decode(ours.encode(text))
    if ours.hugging_face.normalizer is not None:
        text = unicodedata.normalize("NFC", text)
    if (
        "<s>" in ours.special
    ):  # there a space is written ▁, so that one can't be told from the other
        text = text.replace("▁", " ")
    assert back.removeprefix(" ") == text.removeprefix(" ")


def test_a_text_has_at_least_as_many_tokens_as_is_said_of_it(pair):
    _, ours = pair
    assert ours.longest
    longest = max((token for token in ours.table if token), key=len).decode("utf-8", "replace")
    for text in (*NASTY, *SHRINKING, longest * 20):
        for times in (1, 30):
            assert least_tokens(ours, text * times) <= len(ours.encode(text * times))
    assert least_tokens(ours, "x" * 10**6) > 5000


def test_bytes_that_no_token_stands_for_don_t_count():
    """As in SmolLM2, whose table lacks bytes that were in no text it learnt from."""
    file = json.loads(byte_level().to_str())
    vocab, merges = file["model"]["vocab"], file["model"]["merges"]
    file["model"]["vocab"] = {t: i for t, i in vocab.items() if "z" not in t and "Ą" not in t}
    file["model"]["merges"] = [m for m in merges if "z" not in "".join(m)]
    ours = ImportedTokenizer({"tokenizer": file, "vocab_size": len(vocab)})
    assert ours.lost == b"\x04z"
    assert ours.longest is not None
    for text in ("z\x04" * 1000, "az" * 1000, *NASTY):
        assert least_tokens(ours, text) <= len(ours.encode(text))
    assert least_tokens(ours, "az" * 1000) == -(-1000 // ours.longest)
    assert ending(ours, "a" + "z" * 10**4, 1)[0] == "a"


def test_a_text_at_the_bound_is_let_in():
    tokenizer = train_tokenizer("bytes", list)
    check_length(tokenizer, "é" * 4, 8)
    with pytest.raises(TooLongError, match="at least 9 tokens, and at most 8"):
        check_length(tokenizer, "é" * 4 + "e", 8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, " " * 10**5),
        ({"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}}, " " * 10**5),
        ({"normalizer": {"type": "Replace", "pattern": {"String": "ab"}, "content": ""}},
         "ab" * 10**5),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "b" * 10**5),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "b" * 10**5),
    ],
)  # fmt: skip
def test_where_text_can_vanish_nothing_is_said_of_it(change, text):
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    file = {**json.loads(byte_level().to_str()), "pre_tokenizer": bytes_of, **change}
    ours = ImportedTokenizer({"tokenizer": {**file, "added_tokens": []}})
    assert len(ours.encode(text)) < len(text) / 4
    assert least_tokens(ours, text) == 0


def test_special_tokens_are_read_only_where_they_are_asked_for(pair):
    _, ours = pair
    name = next(name for name in ours.special if name != "<unk>")
    text = f"a{name}b"
    assert ours.special[name] not in ours.encode(text)
    assert ours.special[name] in ours.parse(text)


def test_a_stream_never_shows_half_a_character(pair):
    _, ours = pair
    for text in NASTY:
        stream = TextStream(ours.decode)
        shown = [stream.push(int(i)) for i in ours.encode(text)]
        if "\ufffd" not in text:
            assert not any("\ufffd" in piece for piece in shown)
        assert "".join(shown) + stream.finish() == ours.decode(ours.encode(text))


def test_saved_and_loaded_it_is_the_same(pair, tmp_path):
    _, ours = pair
    ours.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert (again.kind, again.vocab_size, again.beginning) == ("imported", ours.vocab_size,
                                                              ours.beginning)  # fmt: skip
    for text in NASTY:
        assert np.array_equal(again.encode(text), ours.encode(text))


@pytest.mark.parametrize("kind", ["chars", "bytes", "words", "bpe"])
def test_ours_as_tokenizer_json_cut_as_ours(kind, topics):
    texts = [topics[:20_000], *NASTY]
    ours = train_tokenizer(kind, lambda: texts, 600 if kind in ("words", "bpe") else None)
    theirs = fast(Tokenizer.from_str(json.dumps(tokenizer_file(ours))), split_special_tokens=True)
    for text in [*NASTY, topics[:20_000], topics[-20_000:]]:
        if kind == "chars":
            text = "".join(c for c in text if c in ours.chars)
        ids = ours.encode(text).tolist()
        assert theirs(text).input_ids == ids, kind
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == ours.decode(ids)


@pytest.fixture(scope="module")
def topics() -> str:
    from whence.data import open_source

    return "".join(open_source(("topics",)).chunks())


def test_sentencepiece_scores_in_gguf_cut_as_the_sentencepiece_library(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(CORPUS).replace("\x00", ""), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "m"),
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.98,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    kinds = gguf.TokenType
    n = theirs.vocab_size()
    types = [
        kinds.UNKNOWN if theirs.is_unknown(i)
        else kinds.CONTROL if theirs.is_control(i)
        else kinds.BYTE if theirs.is_byte(i)
        else kinds.NORMAL
        for i in range(n)
    ]  # fmt: skip
    values = {
        "model": "llama",
        "tokens": [theirs.id_to_piece(i) for i in range(n)],
        "scores": np.array([theirs.get_score(i) for i in range(n)], np.float32),
        "token_type": np.array([int(t) for t in types], np.int32),
        "bos_token_id": theirs.bos_id(),
        "eos_token_id": theirs.eos_id(),
        "unknown_token_id": theirs.unk_id(),
    }
    fields = Fields({f"tokenizer.ggml.{k}": v for k, v in values.items()}, "m.gguf")
    ours = read_tokenizer(fields, n)
    assert (ours.beginning, ours.ends) == ((theirs.bos_id(),), (theirs.eos_id(),))
    for text in NASTY:
        if text and "▁" not in text and "\x00" not in text:
            assert ours.encode(text).tolist() == theirs.encode(text), text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": 3}, "belong together"),
        ({"vocab_size": 10**9}, "belong together"),
        ({"tokenizer": {"model": {"type": "WordPiece"}}}, "WordPiece"),
        ({"tokenizer": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}}, "read"),
    ],
)
def test_a_record_that_can_t_be_read(change, said, tmp_path):
    file = {"schema": 1, "kind": "imported", **imported(byte_level()).record, **change}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(WhenceError, match=said):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_half_a_character_in_a_text_is_told():
    with pytest.raises(WhenceError, match="surrogate"):
        imported(byte_level()).encode("a\ud83d")
