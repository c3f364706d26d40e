"""The tokenizer inside a GGUF file, as the tokenizer.json that says the same."""

from typing import Any

import numpy as np

from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.interop.imported_tokens import made_tokenizer
from whence.interop.pretokenizers import NORMALIZERS, WHOLE_WORDS_FIRST, rule_of
from whence.interop.reading import Fields

CONTROL, USER_DEFINED = 3, 4  # token types that are never made by merging
PREFIX = "tokenizer.ggml."
LONGEST = 1000  # characters of a token; in use are up to 256


def read_tokenizer(fields: Fields, vocab_size: int) -> ImportedTokenizer:
    """Return the tokenizer of a GGUF file.

    Args:
        fields: the file's values.
        vocab_size: how many tokens the model knows.

    Raises:
        WhenceError: where it is missing, damaged, or can't be read.

    Example:
        >>> read_tokenizer(Fields(file.values, "model.gguf"), 49152).ends  # doctest: +SKIP
        (2,)
    """
    kind, where = fields.text(PREFIX + "model"), fields.where
    tokens = _texts(fields, "tokens")
    types = _numbers(fields, "token_type", [1] * len(tokens))
    if len(types) != len(tokens) or len(tokens) > vocab_size:
        raise WhenceError(
            f"{where} has {len(tokens):,} tokens, {len(types):,} types of tokens and rows for "
            f"{vocab_size:,}: it is damaged."
        )
    if any(len(token) > LONGEST for token in tokens):
        raise WhenceError(
            f"{where} has a token of more than {LONGEST:,} characters: it is damaged."
        )
    if kind == "gpt2":
        file = _byte_level(fields, tokens)
    elif kind == "llama":
        file = _sentencepiece(fields, tokens)
    else:
        raise WhenceError(
            f"{where} has a tokenizer of kind {kind!r}: only gpt2 and llama can be read."
        )
    file["version"], file["truncation"], file["padding"] = "1.0", None, None
    file["added_tokens"] = [
        {
            "id": i, "content": tokens[i], "special": t == CONTROL, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for i, t in enumerate(types)
        if t in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    bos = _id(fields, "bos_token_id", tokens)
    if fields.flag(PREFIX + "add_bos_token", kind == "llama") and bos is not None:
        file["post_processor"] = _begins_with(tokens[bos], bos)
    ends = [_id(fields, name, tokens) for name in ("eos_token_id", "eot_token_id", "eom_token_id")]
    names = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token":
             "unknown_token_id", "pad_token": "padding_token_id"}  # fmt: skip
    special = {name: _id(fields, key, tokens) for name, key in names.items()}
    record = {
        "tokenizer": file,
        "vocab_size": vocab_size,
        "ends": sorted({i for i in ends if i is not None}),
        "chat_template": fields.text("tokenizer.chat_template", "") or None,
        "special_tokens": {n: tokens[i] for n, i in special.items() if i is not None},
        "generation": {},
    }
    return made_tokenizer(record, where)


def _texts(fields: Fields, name: str) -> list[str]:
    found = fields.given(PREFIX + name)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise WhenceError(f"{fields.where} has no {PREFIX}{name}: its tokenizer is missing.")
    return found


def _numbers(fields: Fields, name: str, default: list[Any]) -> list[Any]:
    found = fields.given(PREFIX + name)
    if found is None:
        return default
    if not isinstance(found, np.ndarray):
        raise WhenceError(f"{fields.where} has no numbers in {PREFIX}{name}: it is damaged.")
    return found.tolist()


def _id(fields: Fields, name: str, tokens: list[str]) -> int | None:
    value = fields.given(PREFIX + name)
    return value if type(value) is int and 0 <= value < len(tokens) else None


def _byte_level(fields: Fields, tokens: list[str]) -> dict[str, Any]:
    ids = {token: i for i, token in enumerate(tokens)}
    merges = [merge.split(" ", 1) for merge in _texts(fields, "merges")]
    if any(len(pair) != 2 for pair in merges):
        raise WhenceError(f"{fields.where} has a merge that isn't of two tokens: it is damaged.")
    name, rule = rule_of(fields.text(PREFIX + "pre", "default"), fields.where)
    return {
        "normalizer": NORMALIZERS.get(name),
        "pre_tokenizer": rule,
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": name in WHOLE_WORDS_FIRST,
            "vocab": ids,
            # One that makes no token can never be made.
            "merges": [pair for pair in merges if "".join(pair) in ids],
        },
    }  # fmt: skip


def _sentencepiece(fields: Fields, tokens: list[str]) -> dict[str, Any]:
    """Byte-pair encoding by scores: of all neighbours the two that make the best piece are joined.

    That is a list of merges in the order of the scores, each piece by every cut that makes it.
    """
    scores = _numbers(fields, "scores", [])
    if len(scores) != len(tokens):
        raise WhenceError(f"{fields.where} has no score for each token: it is damaged.")
    ids = {token: i for i, token in enumerate(tokens)}
    merges = [
        (-scores[i], ids[token[:cut]], ids[token[cut:]], token[:cut], token[cut:])
        for i, token in enumerate(tokens)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    merges.sort(key=lambda merge: merge[:3])
    unknown = _id(fields, "unknown_token_id", tokens)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    first = {"type": "Prepend", "prepend": "▁"}
    prefixed = fields.flag(PREFIX + "add_space_prefix", True)
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [first, spaces] if prefixed else [spaces],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []),
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown is None else tokens[unknown],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [[left, right] for *_, left, right in merges],
        },
    }


def _begins_with(token: str, number: int) -> dict[str, Any]:
    """The rule that puts a token before each text."""
    mark = {"SpecialToken": {"id": token, "type_id": 0}}
    a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [mark, a],
        "pair": [mark, a, mark, b],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
