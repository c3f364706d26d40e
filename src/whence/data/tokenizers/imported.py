"""Tokenizers that others made: what a Hugging Face tokenizer.json says, whatever its rules.

It adds to bpe that the rules of cutting are read from the file. The `tokenizers` library applies
them; this class knows which bytes each id stands for, where a text begins and where one ends.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as HuggingFaceTokenizer

from whence.data.files import written_whole
from whence.data.tokenizers.bpe import byte_alphabet
from whence.data.tokenizers.keeping import NO_BOUND, shrinking
from whence.data.tokenizers.strange import BoundedCutting, strange_rules
from whence.data.tokenizers.vocabulary import SCHEMA, Vocabulary
from whence.errors import WhenceError

READABLE = ("BPE", "Unigram", "WordLevel")
LARGEST_VOCABULARY = 4_000_000


class ImportedTokenizer(Vocabulary):
    """A tokenizer in Hugging Face's format, with what its model must know of it.

    Args:
        record: `tokenizer` holds the tokenizer.json; `vocab_size` how many tokens the model knows
            (the file may name fewer); `ends` the ids that end a text; `chat_template` and
            `special_tokens` what a conversation is written with; `generation` the settings that
            its makers advise.

    Attributes:
        record: that.
        beginning: ids that come before each text.
        ends: ids after which nothing follows.
        special: content → id of the tokens that are no text, such as `<|im_end|>`.

    Raises:
        WhenceError: a kind of tokenizer that can't be read, or a table that is too small.

    Example:
        >>> from whence.data.tokenizers.bpe import train_bpe
        >>> file = json.loads(train_bpe(["low lower lowest " * 9], 260).hugging_face.to_str())
        >>> ImportedTokenizer({"tokenizer": file, "vocab_size": 260}).decode([75, 78, 86])
        'low'
    """

    kind = "imported"

    def __init__(self, record: Mapping[str, Any]):
        self.record = dict(record)
        file = dict(self.record["tokenizer"])
        kind = file["model"].get("type") or "BPE"
        if kind not in READABLE:
            raise WhenceError(
                f"the tokenizer is of type {kind}: only {', '.join(READABLE)} can be read."
            )
        # Cutting long texts short and filling short ones up is up to whoever makes batches.
        file["truncation"] = file["padding"] = None
        plain = without_special_tokens(file)  # `<|im_end|>` typed by a person is text
        self._apart: BoundedCutting | None = None
        if rules := strange_rules(file):
            self._apart = BoundedCutting({"whole": file, "plain": plain}, rules)
        steps = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor") if rules else ())
        unused = {"decoder": None}  # we have the bytes of each token
        self.hugging_face = _open({**file, **steps, **unused})
        self._plain = self.hugging_face if rules else _open({**plain, **unused})
        known: dict[str, int] = self.hugging_face.get_vocab(with_added_tokens=True)
        size = self.record.get("vocab_size") or 1 + max(known.values(), default=-1)
        if not max(known.values(), default=-1) < size <= LARGEST_VOCABULARY:
            raise WhenceError(
                f"the tokenizer has the id {max(known.values(), default=-1):,} and its model knows "
                f"{size:,} tokens: they don't belong together."
            )
        added = self.hugging_face.get_added_tokens_decoder()
        super().__init__(_table(file, known, {i: t.content for i, t in added.items()}, size))
        self.special = {t.content: i for i, t in added.items() if t.special}
        self.ends = tuple(int(i) for i in self.record.get("ends") or ())
        self.beginning = self._beginning()

    def encode(self, text: str) -> np.ndarray:
        """Cut text into tokens; special tokens in it are text like any other.

        Raises:
            WhenceError: the text holds half a character (a surrogate), or a rule of the file would
                take too much time or memory on it.
        """
        return np.array(self._cut("plain", text)[0], dtype=self.dtype)

    def parse(self, text: str) -> np.ndarray:
        """Cut text into tokens, special tokens in it being read as such: for templates.

        Raises:
            WhenceError: as `encode`.
        """
        return np.array(self._cut("whole", text)[0], dtype=self.dtype)

    def probe(self) -> None:
        """Try rules that aren't known to be harmless on texts that would show that they aren't.

        Raises:
            WhenceError: a rule takes too much time or memory on one of them.
        """
        if self._apart:
            self._apart.probe()

    def save(self, path: Path) -> None:
        """Write the file and what the model must know of it, whole.

        Raises:
            WhenceError: the file can't be written.
        """
        record = {"schema": SCHEMA, "kind": self.kind, **self.record}
        with written_whole(Path(path)) as file:
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8"))

    @property
    def longest(self) -> int | None:
        """The most bytes of text that a token stands for; None where one may stand for any text."""
        return self._kept[0] * (super().longest or 0) or None

    @property
    def lost(self) -> bytes:
        """Bytes of a text that no token stands for, and that are left out."""
        return self._kept[1]

    @cached_property
    def _kept(self) -> tuple[int, bytes]:
        return NO_BOUND if self._apart else shrinking(self.record["tokenizer"])

    def _beginning(self) -> tuple[int, ...]:
        """What the file puts before a text, such as `<s>`."""
        ids, special = self._cut("whole", "a", whole=True)
        first = special.index(0) if 0 in special else 0
        return tuple(ids[:first])

    def _cut(self, name: str, text: str, whole: bool = False) -> tuple[list[int], list[int]]:
        """A text's ids, and for each whether it is special; `whole` with what comes before it."""
        try:
            if self._apart:
                return self._apart.cut(name, text, whole)
            tokenizer = self._plain if name == "plain" else self.hugging_face
            found = tokenizer.encode(text, add_special_tokens=whole)
            return found.ids, found.special_tokens_mask
        except (UnicodeEncodeError, TypeError) as error:
            raise WhenceError(
                "the text contains half a character (a surrogate), which has no token: give valid "
                "Unicode."
            ) from error


def without_special_tokens(file: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer.json that can't make a special token, whatever the text.

    They are taken from the tokens that are looked for ahead of cutting, and from the model's own
    table too, where a text that spells one could arrive at it by merging.

    Args:
        file: the tokenizer.json.

    Example:
        >>> token = {"id": 0, "content": "<s>", "special": True}
        >>> file = {"model": {"type": "WordLevel", "vocab": {"<s>": 0}}, "added_tokens": [token]}
        >>> "<s>" in without_special_tokens(file)["model"]["vocab"]
        False
    """
    model = dict(file["model"])
    unknown = model.get("unk_token")
    added = file.get("added_tokens") or []
    special = {t["content"] for t in added if t.get("special") and t["content"] != unknown}

    def name(token: str) -> str:
        # No text holds it: a space is written in another way by the time it is looked up.
        return f"\uffff {token} \ufffe" if token in special else token

    vocab = model.get("vocab") or {}
    if isinstance(vocab, list):  # unigram: pairs of token and score
        model["vocab"] = [[name(token), score] for token, score in vocab]
    else:
        model["vocab"] = {name(token): i for token, i in vocab.items()}
    if "merges" in model:
        pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
        model["merges"] = [p for p in pairs if special.isdisjoint((p[0], p[1], p[0] + p[1]))]
    rest = [token for token in added if token["content"] not in special]
    return {**file, "model": model, "added_tokens": rest, "post_processor": None}


def _open(file: Mapping[str, Any]) -> HuggingFaceTokenizer:
    try:
        return HuggingFaceTokenizer.from_str(json.dumps(file, ensure_ascii=False))
    except Exception as error:  # it raises nothing narrower
        raise WhenceError(f"the tokenizer can't be read ({error}).") from error


def _table(
    file: Mapping[str, Any], known: Mapping[str, int], added: Mapping[int, str], size: int
) -> list[bytes]:
    """The bytes of each id; an id that the file doesn't name stands for none."""
    parts = decoder_parts(file)
    spaced = next((part for part in parts if part["type"] in ("Metaspace", "Replace")), None)
    space = _space_mark(spaced) if spaced else None
    of_bytes = any(part["type"] == "ByteFallback" for part in parts)
    byte_of = {char: value for value, char in enumerate(byte_alphabet())}
    by_bytes = any(part["type"] == "ByteLevel" for part in parts)
    table = [b""] * size
    for token, number in known.items():
        if number in added:
            table[number] = added[number].encode("utf-8")
        elif by_bytes and all(char in byte_of for char in token):
            table[number] = bytes(byte_of[char] for char in token)
        elif of_bytes and (value := byte_of_name(token)) is not None:
            table[number] = bytes([value])
        else:
            table[number] = (token.replace(space, " ") if space else token).encode("utf-8")
    return table


def decoder_parts(file: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps by which a tokenizer.json turns tokens back into text, in order."""
    decoder = file.get("decoder") or {}
    return decoder.get("decoders", [decoder]) if decoder else []


def _space_mark(part: Mapping[str, Any]) -> str | None:
    """The character that stands for a space."""
    if part["type"] == "Metaspace":
        return part.get("replacement", "▁")
    pattern = part["pattern"].get("String")
    return pattern if part.get("content") == " " else None


def byte_of_name(token: str) -> int | None:
    """The byte that a token such as `<0x0A>` stands for.

    Example:
        >>> byte_of_name("<0x0A>"), byte_of_name("ten")
        (10, None)
    """
    if len(token) != 6 or not token.startswith("<0x") or token[5] != ">":
        return None
    try:
        return int(token[3:5], 16)
    except ValueError:
        return None
