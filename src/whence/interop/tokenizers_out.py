"""Our tokenizers as tokenizer.json, the file that others read."""

import json
from typing import Any

from whence.data import Tokenizer
from whence.data.tokenizers.bpe import BPETokenizer, byte_alphabet
from whence.data.tokenizers.chars import CharTokenizer
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.data.tokenizers.vocabulary import END
from whence.data.tokenizers.words import UNKNOWN, WordTokenizer

_BPE = {
    "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
    "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
}  # fmt: skip
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
# The pieces of `whence.data.tokenizers.words`: what Python's \w and \s are, said in full, as the
# other library's differ.
_LETTER, _SPACE = r"\p{L}\p{N}_", r"\s\x1c-\x1f"
_WORD = (
    rf" ?[{_LETTER}]+(?:['’][{_LETTER}]+)*| ?[^{_LETTER}{_SPACE}]"
    rf"|[{_SPACE}]+(?= [^{_SPACE}])|[{_SPACE}]+"
)


def tokenizer_file(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer.json that cuts text as a tokenizer of ours does, with its end token.

    Args:
        tokenizer: of any kind.

    Example:
        >>> tokenizer_file(CharTokenizer("ab", end=True))["added_tokens"][0]["content"]
        '<|end|>'
    """
    file = _cutting(tokenizer)
    if not isinstance(tokenizer, ImportedTokenizer) and not file["added_tokens"]:
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        ends = [{"id": i, "content": END, **plain, "special": True} for i in tokenizer.ends]
        file["added_tokens"] = ends
    return file


def _cutting(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer.json that cuts text as a tokenizer of ours does.

    What ours refuses, a character that isn't in its table, is left out by theirs.

    Args:
        tokenizer: of any kind.

    Example:
        >>> tokenizer_file(CharTokenizer("ab"))["model"]["vocab"]
        {'a': 0, 'b': 1}
    """
    if isinstance(tokenizer, ImportedTokenizer):
        return dict(tokenizer.record["tokenizer"])
    if isinstance(tokenizer, BPETokenizer):
        return json.loads(tokenizer.hugging_face.to_str())
    if isinstance(tokenizer, WordTokenizer):
        return _words(tokenizer)
    if isinstance(tokenizer, CharTokenizer):
        vocab = {char: i for i, char in enumerate(tokenizer.chars)}
        return _file({**_BPE, "vocab": vocab, "merges": []}, None, {"type": "Fuse"})
    vocab = {char: value for value, char in enumerate(byte_alphabet())}
    return _file({**_BPE, "vocab": vocab, "merges": []}, _BYTES, _BYTES)


def _words(tokenizer: WordTokenizer) -> dict[str, Any]:
    """Words: cut as ours, and each piece looked up; an unknown one is `<UNK>`.

    The second cut leaves known pieces whole; of others it splits off the space, and takes white
    space apart.
    """
    spaced = "|".join(_literal(p) for p in tokenizer.pieces if any(c.isspace() for c in p))
    cuts = [_cut(_WORD), _cut(rf"\A(?:{spaced})\z|[{_SPACE}]")]
    vocab = {piece: i for i, piece in enumerate([UNKNOWN, *tokenizer.pieces])}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN}
    return _file(model, {"type": "Sequence", "pretokenizers": cuts}, {"type": "Fuse"})


def _cut(pattern: str) -> dict[str, Any]:
    whole = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return {**whole, "invert": False}


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() else rf"\x{{{ord(c):x}}}" for c in text)


def _file(model: dict[str, Any], cut: Any, decoder: Any) -> dict[str, Any]:
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": cut, "post_processor": None, "decoder": decoder,
        "model": model,
    }  # fmt: skip


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """Return what a tokenizer's special tokens are called: bos_token, eos_token and the like.

    Example:
        >>> special_tokens(CharTokenizer("ab"))
        {}
    """
    if not isinstance(tokenizer, ImportedTokenizer):
        return {"eos_token": END} if tokenizer.ends else {}
    return {k: v for k, v in (tokenizer.record.get("special_tokens") or {}).items() if v}


def chat_template(tokenizer: Tokenizer) -> str | None:
    """Return the template by which a conversation is written, if there is one.

    Example:
        >>> chat_template(CharTokenizer("ab"))
    """
    if not isinstance(tokenizer, ImportedTokenizer):
        return None
    return tokenizer.record.get("chat_template")


def advised(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the settings of generation that a model's makers advise.

    Example:
        >>> advised(CharTokenizer("ab"))
        {}
    """
    if not isinstance(tokenizer, ImportedTokenizer):
        return {}
    return dict(tokenizer.record.get("generation") or {})
