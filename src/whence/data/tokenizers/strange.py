"""Rules of cutting that others wrote: which are safe on any text, and the others within bounds.

A tokenizer.json can hold regular expressions, some of which take for ever on some texts, and
replacements that double a text again and again. No look at them tells the good from the bad, so
those that aren't known are run in a process of their own, whose time and memory are bounded.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from whence.data.bounded import BoundedProcess
from whence.errors import WhenceError

SECONDS = 5.0  # of computing that a text may take
PER_SECOND = 50_000  # more characters for each second more; usual are millions
OPENING = 60.0  # seconds of computing to open a tokenizer
MEMORY = 4 << 30  # bytes that the process may take
MOST_PARTS = 16  # each goes through the whole text

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _WORDS % "{1,3}" + _REST
QWEN2 = _WORDS % "" + _REST
KNOWN = (_GPT2, LLAMA3, QWEN2)  # their time grows as the text does
# What takes time and room in proportion to the text, whatever it is.
SAFE = {
    "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Nmt", "Prepend",
    "BertNormalizer", "Replace", "ByteLevel", "Metaspace", "Digits", "Punctuation", "Split",
    "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "CharDelimiterSplit", "UnicodeScripts",
}  # fmt: skip

LONGEST_SAID = 80  # characters of a rule


def parts(step: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a normalizer or pre-tokenizer, however deep its sequences are.

    Example:
        >>> inner = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
        >>> list(parts({"type": "Sequence", "normalizers": [inner]}))
        [{'type': 'NFC'}]
    """
    if step is None:
        return
    if step["type"] != "Sequence":
        yield step
        return
    for inner in step.get("normalizers") or step.get("pretokenizers") or []:
        yield from parts(inner)


def strange_rules(file: Mapping[str, Any]) -> list[str]:
    """Return those rules of a tokenizer.json that may take any time or room, as errors name them.

    Example:
        >>> split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}}
        >>> strange_rules({"pre_tokenizer": split})
        ["'(a+)+$'"]
    """
    found = [*parts(file.get("normalizer")), *parts(file.get("pre_tokenizer"))]
    strange = [_name(part) for part in found if not _is_safe(part)]
    twice = sum(part["type"] == "ByteLevel" for part in found) > 1  # each doubles what isn't ASCII
    if not strange and (twice or len(found) > MOST_PARTS):
        return [f"a sequence of {len(found)} parts"]
    return strange


def _is_safe(part: Mapping[str, Any]) -> bool:
    pattern = part.get("pattern") or {}
    if part["type"] not in SAFE or pattern.get("Regex", _GPT2) not in KNOWN:
        return False
    if part["type"] == "Replace":
        return len(part["content"]) <= len(pattern["String"]) if "String" in pattern else False
    return len(part.get("prepend", "")) <= 1


def _name(part: Mapping[str, Any]) -> str:
    pattern = part.get("pattern") or {}
    text = str(pattern.get("Regex", pattern.get("String", part["type"])))
    text = "".join(char if char.isprintable() else "�" for char in text)
    return f"'{text if len(text) <= LONGEST_SAID else text[:LONGEST_SAID] + '…'}'"


class RefusedError(WhenceError):
    """A text that a tokenizer can't cut, though its rules did no harm."""


class BoundedCutting:
    """The tokenizers of a file with strange rules, in a process within bounds.

    Args:
        files: name → tokenizer.json.
        rules: the strange ones, for errors.

    Raises:
        WhenceError: when a text is cut, also where the files can't be opened.

    Example:
        >>> from whence.data.tokenizers import train_bpe
        >>> file = json.loads(train_bpe(["low lower lowest " * 9], 260).hugging_face.to_str())
        >>> len(BoundedCutting({"plain": file}, []).cut("plain", "lower")[0]) < 5
        True
    """

    def __init__(self, files: Mapping[str, Mapping[str, Any]], rules: Sequence[str]):
        self.rules = rules
        texts = {name: json.dumps(file, ensure_ascii=False) for name, file in files.items()}
        script = Path(__file__).with_name("cutting_script.py")
        self._process = BoundedProcess(script, MEMORY, ({"open": texts}, OPENING))

    def cut(self, name: str, text: str, whole: bool = False) -> tuple[list[int], list[int]]:
        """Return a text's ids, and for each whether it is special.

        Args:
            name: of the tokenizer.
            text: what to cut.
            whole: with what comes before a text.

        Raises:
            WhenceError: where a rule takes too long or too much memory, fails, or refuses the text.
        """
        text.encode("utf-8")  # half a character is told here as everywhere
        seconds = SECONDS + len(text) / PER_SECOND
        found = self._process.ask({"name": name, "text": text, "whole": whole}, seconds)
        if found is not None and "refused" in found:
            raise RefusedError(f"the tokenizer {found['error']}.")
        if found is None or "error" in found:
            why = (
                f"it was ended after {seconds:.0f} seconds of computing, or for its memory"
                if found is None
                else found["error"]
            )
            raise WhenceError(
                f"the tokenizer's own rule {' or '.join(self.rules[:3])} fails on a text of "
                f"{len(text):,} characters ({why}): shorten it, or choose a model with another "
                "tokenizer."
            )
        return found["ids"], found["special"]

    def probe(self) -> None:
        """Cut a text on which bad rules are often slow: long runs of one character.

        Raises:
            WhenceError: as `cut`, but not for a text that is refused.
        """
        # What the rules themselves name is likeliest to be what they are slow on.
        runs = sorted({*"aA1 \n.-é中", *"".join(self.rules)})
        text = "".join(f"{char * 2000}!\0" for char in runs)
        with suppress(RefusedError):
            self.cut("plain", text)
