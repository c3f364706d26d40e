"""Byte-pair encoding: like words, but a rare word is spelt from parts, down to single bytes.

No text is unknown. Training counts the neighbours and joins the most frequent pair into a
new token, over and over. Hugging Face `tokenizers` trains and keeps the file in the format others
read; long texts are cut by `tiktoken`, which applies the same merges ten times as fast.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tiktoken
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from whence.data.files import written_whole
from whence.data.tokenizers.vocabulary import END, Vocabulary
from whence.errors import WhenceError

DEFAULT_SIZE = 4096
# GPT-2's pattern, possessive where that changes nothing but the time it takes.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


class BPETokenizer(Vocabulary):
    """Byte-level byte-pair encoding as in GPT-2.

    Args:
        file: the text of a tokenizer.json in Hugging Face's format.

    Raises:
        WhenceError: the file isn't a byte-level BPE without a prefix space.

    Example:
        >>> tokenizer = train_bpe(["low lower lowest " * 9], 260)
        >>> tokenizer.encode("lower").size < 5
        True

    Source:
        Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units",
        2016; Radford et al., "Language models are unsupervised multitask learners", 2019 (bytes).
    """

    kind = "bpe"

    def __init__(self, file: str):
        record = json.loads(file)
        ids: dict[str, int] = record["model"]["vocab"]
        _check_layout(record)  # ahead of opening it, where a strange normalizer would be run
        self.hugging_face = HuggingFaceTokenizer.from_str(file)
        self.hugging_face.encode_special_tokens = True  # `<|end|>` typed by a person is text
        byte_of = {char: value for value, char in enumerate(byte_alphabet())}
        extra = {entry["id"]: entry["content"] for entry in record.get("added_tokens") or []}
        highest = max([*ids.values(), *extra])
        if highest > 2 * (len(ids) + len(extra)):  # a table of that length would hold nothing
            raise WhenceError(f"This tokenizer.json gives a token the id {highest}: it is damaged.")
        table = [b""] * (highest + 1)
        for token, number in ids.items():
            if number not in extra:
                table[number] = bytes(byte_of[char] for char in token)
        for number, content in extra.items():
            table[number] = b"" if content == END else content.encode("utf-8")
        super().__init__(table)
        self.ends = tuple(number for number, content in extra.items() if content == END)
        self._fast = _tiktoken_twin(record, table, set(extra))

    def encode(self, text: str) -> np.ndarray:
        """Cut text by GPT-2's pattern, then merge bytes into the tokens learnt, earliest first."""
        if self._fast is None:
            ids = np.array(self.hugging_face.encode(text, add_special_tokens=False).ids)
        else:
            ids = self._fast.encode_to_numpy(text, disallowed_special=())
        return ids.astype(self.dtype)

    def save(self, path: Path) -> None:
        """Write tokenizer.json in Hugging Face's format (it carries its own version), whole.

        Raises:
            WhenceError: the file can't be written.
        """
        with written_whole(Path(path)) as file:
            file.write(self.hugging_face.to_str(pretty=True).encode("utf-8"))


def train_bpe(texts: Iterable[str], vocab_size: int | None, end: bool = False) -> BPETokenizer:
    """Learn merges from a stream of text.

    Args:
        texts: the stream.
        vocab_size: tokens to end with, at least 256 (each byte is one); 4096 if None. A small text
            may have fewer pairs worth merging.
        end: one of them ends a document.

    Raises:
        WhenceError: `vocab_size` is below 256.
    """
    size = DEFAULT_SIZE if vocab_size is None else vocab_size
    if size < 256:
        raise WhenceError(f"A bpe vocabulary needs at least the 256 bytes: {size} is too small.")
    tokenizer = HuggingFaceTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(256, size - end),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if end:
        tokenizer.add_special_tokens([END])
    return BPETokenizer(tokenizer.to_str())


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary.

    Bytes that Latin-1 prints stand for themselves, the others get the code points from 256 on.

    Example:
        >>> byte_alphabet()[65], byte_alphabet()[32]
        ('A', 'Ġ')
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(value if value in printable else next(others)) for value in range(256)]


def _check_layout(record: dict) -> None:
    splitter = record.get("pre_tokenizer") or {}
    if (
        record["model"].get("type") != "BPE"
        or record["model"].get("byte_fallback")
        or record.get("normalizer") is not None
        or splitter.get("type") != "ByteLevel"
        or splitter.get("add_prefix_space")
        or not splitter.get("use_regex", True)
    ):
        raise WhenceError(
            "This tokenizer.json isn't a byte-level BPE as in GPT-2 (its model, normalizer or "
            "pre-tokenizer differ): only that layout can be read."
        )


def _tiktoken_twin(record: dict, table: list[bytes], special: set[int]) -> tiktoken.Encoding | None:
    """The same merges for tiktoken; None where its rules could cut otherwise.

    tiktoken joins the two neighbours whose joined bytes have the lowest id, whichever two they are.
    That is the list of merges only if each merge makes a token of its own and ids follow the list.
    """
    ids: dict[str, int] = record["model"]["vocab"]
    pairs = [
        pair.split(" ") if isinstance(pair, str) else pair for pair in record["model"]["merges"]
    ]
    made = [ids[left + right] for left, right in pairs]
    singles = {table[number] for number in ids.values() if len(table[number]) == 1}
    if made != sorted(set(made)) or len(singles) < 256 or len(made) + 256 + len(special) < len(ids):
        return None
    ranks = {table[number]: number for number in ids.values() if number not in special}
    return tiktoken.Encoding("whence", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
