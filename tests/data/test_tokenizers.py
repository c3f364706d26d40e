"""One test body over all tokenizers, against Hugging Face's for byte-pair encoding."""

import json
from functools import cache
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.data.texts.sources import text_source
from whence.data.tokenizers import KINDS, load_tokenizer, train_tokenizer
from whence.data.tokenizers.bpe import BPETokenizer
from whence.data.tokenizers.keeping import shrinking
from whence.data.tokenizers.vocabulary import show
from whence.errors import WhenceError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200) | st.text(
    st.sampled_from("ab é\n\t\r ''s0.,\u3000字🙂<UNK>\x1c\x85"), max_size=200
)
REAL = "\n".join(topics[key] for key in sorted(topics))[:100_000]


@cache
def trained(kind):
    return train_tokenizer(kind, lambda: [REAL], {"bpe": 600, "words": 900}.get(kind))


def knowing(kind, text):
    """A tokenizer that knows all of this text."""
    return trained("bpe") if kind == "bpe" else train_tokenizer(kind, lambda: [text])


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_round_trip(kind, text):
    tokenizer = knowing(kind, text)
    ids = tokenizer.encode(text)
    assert ids.ndim == 1
    assert ids.dtype == np.min_scalar_type(max(tokenizer.vocab_size - 1, 0))
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.n_bytes(ids) == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(pieces=st.lists(TEXTS, min_size=1, max_size=6))
def test_pieces_of_a_source_give_the_tokens_of_the_whole(kind, pieces):
    text = "".join(pieces).replace("\0", "")
    if not text:
        return
    tokenizer = knowing(kind, text)
    source = text_source("pieces", lambda: [piece.replace("\0", "") for piece in pieces])
    chunks = list(source.chunks())
    assert "".join(chunks) == text
    joined = np.concatenate([tokenizer.encode(chunk) for chunk in chunks])
    assert np.array_equal(joined, tokenizer.encode(text))


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_shown_by_a_name_of_its_own(kind):
    tokenizer = trained(kind)
    names = [tokenizer.token(number) for number in range(tokenizer.vocab_size)]
    assert [tokenizer.id(name) for name in names] == list(range(tokenizer.vocab_size))
    assert all(name.isprintable() for name in names)
    assert tokenizer.id("\n") == tokenizer.id("\\n")


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_different_bytes_are_shown_differently(one, other):
    assert (show(one) == show(other)) == (one == other)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b" the", " the"),
        (b"\n\t\r", r"\n\t\r"),
        (b"\\n", r"\\n"),
        (b"\xc3", r"\xc3"),
        (b"\x07", r"\x07"),
        ("\u200b".encode(), r"\u200b"),
        ("\U000e0001".encode(), r"\U000e0001"),
    ],
)
def test_how_tokens_are_shown(raw, name):
    assert show(raw) == name


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(kind, tmp_path):
    path = tmp_path / "a folder" / "tokenizer.json"
    tokenizer = trained(kind)
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert (loaded.kind, loaded.vocab_size) == (kind, tokenizer.vocab_size)
    sample = REAL[5000:9000]
    assert np.array_equal(loaded.encode(sample), tokenizer.encode(sample))
    assert [loaded.token(i) for i in range(loaded.vocab_size)] == [
        tokenizer.token(i) for i in range(loaded.vocab_size)
    ]
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [[-1], [10**6], [0, 2**40]])
def test_an_id_outside_the_vocabulary_is_an_error(kind, bad):
    for call in (trained(kind).decode, trained(kind).n_bytes):
        last = trained(kind).vocab_size - 1
        with pytest.raises(WhenceError, match=f"isn't in the vocabulary, whose ids are 0 … {last}"):
            call(bad)
    with pytest.raises(WhenceError, match="isn't in the vocabulary"):
        trained(kind).token(bad[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_an_error(kind):
    with pytest.raises(WhenceError, match=f"isn't a token of this {kind} tokenizer"):
        trained(kind).id("no such token at all")


def test_the_nearest_token_is_named():
    with pytest.raises(WhenceError, match="nearest: ' value'"):
        trained("words").id(" vakue")


# characters


def test_characters_are_sorted():
    tokenizer = train_tokenizer("chars", lambda: ["hel", "lo\n"])
    assert [tokenizer.token(i) for i in range(tokenizer.vocab_size)] == ["\\n", "e", "h", "l", "o"]


@pytest.mark.parametrize("alphabet", ["abc\n ", "abcé\n "])
@pytest.mark.parametrize(("char", "code"), [("€", "U\\+20AC"), ("z", "U\\+007A"), ("\ud800", "D8")])
def test_an_unknown_character_is_named_with_its_place(alphabet, char, code):
    tokenizer = train_tokenizer("chars", lambda: [alphabet])
    with pytest.raises(WhenceError, match=f"{code}.*offset 8, line 2, column 4 "):
        tokenizer.encode(f"abc \nabc{char}a")


# words


def test_words_are_cut_with_the_space_before_them():
    tokenizer = trained("words")
    text = "The value isn't  set.\n\n    if (x)"
    ids = knowing("words", text).encode(text)
    shown = [knowing("words", text).token(i) for i in ids]
    assert shown == [
        "The",
        " value",
        " isn't",
        " ",
        " set",
        ".",
        "\\n\\n   ",
        " if",
        " (",
        "x",
        ")",
    ]
    assert tokenizer.token(0) == "<UNK>"


def test_unknown_words_lose_only_themselves():
    tokenizer = train_tokenizer("words", lambda: ["I like to eat. I like pizza."])
    assert tokenizer.decode(tokenizer.encode("I  like sushi.\n\tI eat")) == (
        "I  like <UNK>.<UNK><UNK>I eat"
    )
    ids = tokenizer.encode("I like  sushi")
    assert [tokenizer.token(i) for i in ids] == ["I", " like", " ", " ", "<UNK>"]


def test_the_most_frequent_words_are_kept():
    tokenizer = train_tokenizer("words", lambda: ["b a b a b c b"], 5)
    assert [tokenizer.token(i) for i in range(5)] == ["<UNK>", " ", " b", " a", " c"]


@given(text=TEXTS, size=st.integers(4, 40))
def test_text_that_was_trained_on_keeps_its_white_space(text, size):
    try:
        tokenizer = train_tokenizer("words", lambda: [text], size)
    except WhenceError:
        return
    again = tokenizer.decode(tokenizer.encode(text))
    assert tokenizer.vocab_size <= size
    rebuilt = again.replace("<UNK>", "")
    assert [c for c in rebuilt if c.isspace()] == [c for c in text if c.isspace()]


def test_a_words_vocabulary_needs_room():
    with pytest.raises(WhenceError, match="needs at least 4"):
        train_tokenizer("words", lambda: ["a b\nc"], 3)


# byte-pair encoding


@settings(max_examples=300)
@given(text=TEXTS)
def test_bpe_is_hugging_faces(text):
    tokenizer = trained("bpe")
    ids = tokenizer.encode(text)
    assert ids.tolist() == tokenizer.hugging_face.encode(text).ids
    assert tokenizer.hugging_face.decode(ids.tolist(), skip_special_tokens=False) == text


def test_bpe_is_hugging_faces_on_real_text():
    tokenizer = trained("bpe")
    assert tokenizer._fast is not None
    text = "\n".join(topics.values())
    assert tokenizer.encode(text).tolist() == tokenizer.hugging_face.encode(text).ids


def test_bpe_has_the_size_asked_for_and_is_the_same_each_time():
    again = train_tokenizer("bpe", lambda: [REAL], 600)
    assert trained("bpe").vocab_size == again.vocab_size == 600
    assert again.hugging_face.to_str() == trained("bpe").hugging_face.to_str()


def test_half_a_character_is_shown_as_such():
    tokenizer = trained("bytes")
    assert tokenizer.decode([0xC3]) == "�"
    assert tokenizer.decode_bytes([0xC3]) == b"\xc3"


def changed(change):
    record = json.loads(trained("bpe").hugging_face.to_str())
    change(record)
    return json.dumps(record)


def test_merges_tiktoken_would_read_otherwise_are_left_to_hugging_face():
    def swap(record):
        vocab, (one, two) = record["model"]["vocab"], record["model"]["merges"][:2]
        a, b = "".join(one), "".join(two)
        vocab[a], vocab[b] = vocab[b], vocab[a]

    tokenizer = BPETokenizer(changed(swap))
    assert tokenizer._fast is None
    assert tokenizer.decode(tokenizer.encode(REAL[:3000])) == REAL[:3000]


def test_added_tokens_are_shown_and_decoded():
    def add(record):
        record["added_tokens"] = [
            {
                "id": 600,
                "content": "<|endoftext|>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ]

    tokenizer = BPETokenizer(changed(add))
    assert tokenizer.vocab_size == 601
    assert tokenizer.id("<|endoftext|>") == 600
    assert tokenizer.decode([600]) == "<|endoftext|>"
    assert tokenizer._fast is not None
    assert (
        tokenizer.encode("a<|endoftext|>").tolist()
        == trained("bpe").encode("a<|endoftext|>").tolist()
    )


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_a_token_that_takes_the_space_beside_it_leaves_no_bound(side):
    """A text of any length can be one token and spaces."""
    file = json.loads(trained("bpe").hugging_face.to_str())
    file["added_tokens"] = [{"content": "<s>", "special": True, "lstrip": False, "rstrip": False}]
    assert shrinking(file)[0] > 0
    file["added_tokens"][0][side] = True
    assert shrinking(file) == (0, b"")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"type": "Unigram"}),
        ("model", {"byte_fallback": True}),
        ("normalizer", {"type": "NFC"}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("pre_tokenizer", {"add_prefix_space": True}),
        ("pre_tokenizer", {"use_regex": False}),
    ],
)
def test_another_layout_is_refused(part, change):
    def other(record):
        record[part] = {**(record[part] or {}), **change}

    BPETokenizer(changed(lambda record: None))
    with pytest.raises(WhenceError, match="a byte-level BPE"):
        BPETokenizer(changed(other))


# what goes wrong


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("syllables", None, "no tokenizer 'syllables': choose one of chars, bytes, words, bpe"),
        ("chars", 10, "takes no vocab_size"),
        ("bpe", 100, "at least the 256 bytes"),
    ],
)
def test_a_wrong_wish_is_an_error(kind, size, message):
    with pytest.raises(WhenceError, match=message):
        train_tokenizer(kind, lambda: ["a"], size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        (b"", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "damaged"),
        (b"{}", "damaged"),
        (b'{"schema": 1, "kind": "runes"}', "unknown kind 'runes'"),
        (b'{"schema": 1, "kind": "chars"}', "damaged"),
        (b'{"schema": 2, "kind": "chars", "chars": "a"}', "newer version"),
        (b'{"model": {"type": "BPE"}}', "damaged"),
    ],
)
def test_a_bad_file_is_an_error(content, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WhenceError, match=message):
        load_tokenizer(path)
