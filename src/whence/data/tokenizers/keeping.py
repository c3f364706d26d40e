"""Which bytes of a text a tokenizer.json keeps, so that long texts have many tokens for certain."""

from collections.abc import Mapping
from typing import Any

from whence.data.tokenizers.bpe import byte_alphabet
from whence.data.tokenizers.strange import parts

KEEPING = {
    "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "ByteLevel", "Metaspace", "Digits",
    "Punctuation", "Split", "UnicodeScripts",
}  # fmt: skip
NO_BOUND = (0, b"")
SHRINKS = 4  # times at most: a letter of four bytes becomes one of one, three letters become one


def shrinking(file: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return how many times fewer bytes a text may have where it is cut, and bytes that are lost.

    0 times says that there is no bound: some text is left out, or an unknown word of any length is
    one token. Bytes that were in no text that a byte-level model learnt from have no token.

    Args:
        file: a tokenizer.json without strange rules.

    Example:
        >>> shrinking({"pre_tokenizer": {"type": "Whitespace"}, "model": {"vocab": {}}})
        (0, b'')
    """
    first, second = list(parts(file.get("normalizer"))), list(parts(file.get("pre_tokenizer")))
    for part in first + second:
        same = part["type"] != "Replace" or len(part["content"]) == len(part["pattern"]["String"])
        if part["type"] not in KEEPING or part.get("behavior") == "Removed" or not same:
            return NO_BOUND
    added = file.get("added_tokens") or []
    if file["model"].get("type") == "WordLevel":
        return NO_BOUND
    if any(token.get("lstrip") or token.get("rstrip") for token in added):
        return NO_BOUND
    by_bytes = any(part["type"] == "ByteLevel" for part in first + second)
    if by_bytes:
        alphabet = byte_alphabet()
    elif file["model"].get("byte_fallback"):
        alphabet = [f"<0x{value:02X}>" for value in range(256)]
    else:
        return NO_BOUND
    vocab = file["model"]["vocab"]
    known = {name for name, _ in vocab} if isinstance(vocab, list) else set(vocab)
    known -= {token["content"] for token in added if token.get("special")}
    lost = bytes(value for value, name in enumerate(alphabet) if name not in known)
    changed = bool(first) or any(part["type"] == "Metaspace" for part in second)
    if lost and (changed or not by_bytes):
        return NO_BOUND
    return (SHRINKS if changed else 1), lost
