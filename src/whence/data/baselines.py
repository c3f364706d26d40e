"""What a model must beat, and what it may be compared with, in bits per byte of validation text.

Floors are counted models: uniform (knows nothing), unigram (knows how frequent each token is) and
bigram (knows the token before). References are gzip and xz, which know nothing but repetition.
"""

import gzip
import lzma
import math
from dataclasses import dataclass

import numpy as np

from whence.data.texts.shards import Dataset
from whence.errors import WhenceError

COUNTED_TOKENS = 1 << 26  # the bigram counts at most so many training tokens, the last ones
READ_BLOCK = 1 << 22
TABLE = 1 << 22  # up to so many possible pairs, a table of all of them is the fastest count
GZIP_WINDOW = 1 << 15  # deflate refers back no further than this
XZ_TRAIN, SAMPLE = 4 << 20, 1 << 20  # bytes of training and of validation text given to xz


@dataclass(frozen=True)
class Baseline:
    """One figure to beat.

    Attributes:
        name: "uniform", "unigram", "bigram", "gzip" or "xz".
        bits_per_byte: bits to write down the validation text, per UTF-8 byte of it.
        note: how it was measured, for a person.
    """

    name: str
    bits_per_byte: float
    note: str


def baselines(dataset: Dataset) -> list[Baseline]:
    """Measure what knowing little is worth on this text: −Σ log₂ P(token) / bytes.

    With V tokens, counts c on the training part and N of them in all:
    uniform P(b) = 1/V; unigram P(b) = (c(b) + 1) / (N + V);
    bigram P(b∣a) = max(c(a,b) − D, 0)/c(a) + D·n(a)/c(a) · P(b), where n(a) is how many different
    tokens followed a and D = n₁/(n₁ + 2n₂) from the pairs seen once and twice.
    gzip and xz: 8·(size(train + validation) − size(train)) / bytes.

    Args:
        dataset: with a validation part.

    Returns:
        uniform, unigram, bigram, gzip, xz, in this order.

    Raises:
        WhenceError: there is no validation part, or no training part.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from whence.data.texts.cutting import prepare
        >>> from whence.data.texts.sources import text_source
        >>> text = text_source("ab", lambda: ["ab" * 1000])
        >>> [f.name for f in baselines(prepare(text, "chars", None, 0.1, Path(tempfile.mkdtemp())))]
        ['uniform', 'unigram', 'bigram', 'gzip', 'xz']

    Source:
        Ney, Essen and Kneser, "On structuring probabilistic dependences in stochastic language
        modelling", 1994 (absolute discounting).
    """
    train, validation, size = dataset.train, dataset.validation, dataset.tokenizer.vocab_size
    if not len(train) or not len(validation):
        raise WhenceError(
            "There is nothing to measure the baselines on: keep a share of the text for training "
            "and one for validation (validation = 0.1)."
        )
    per_byte = 1 / dataset.n_bytes_validation
    unigram = (_counts(train, size) + 1) / (len(train) + size)
    frequency = _counts(validation, size)
    bits = -float(frequency @ np.log2(unigram))
    counted = train[-COUNTED_TOKENS:]
    note = "" if len(counted) == len(train) else f", the last {len(counted):,} training tokens"
    unknown = ""
    if dataset.tokenizer.kind == "words":
        share = frequency[0] / len(validation)
        unknown = f"; {share:.1%} of the tokens are <UNK>, which hides a word's spelling for free"
    uniform_bits = len(validation) * math.log2(size)
    bigram_bits = _bigram_bits(counted, validation, unigram)
    found = [
        Baseline("uniform", uniform_bits * per_byte, f"each of {size} tokens alike{unknown}"),
        Baseline("unigram", bits * per_byte, f"token frequencies, add-one{unknown}"),
        Baseline(
            "bigram",
            bigram_bits * per_byte,
            f"frequencies after the token before, absolute discounting{note}{unknown}",
        ),
    ]
    return [*found, *_compressors(dataset)]


def _counts(tokens: np.ndarray, size: int) -> np.ndarray:
    """How often each id occurs, read block by block: bincount copies what it counts to int64."""
    total = np.zeros(size, dtype=np.int64)
    for start in range(0, len(tokens), READ_BLOCK):
        total += np.bincount(tokens[start : start + READ_BLOCK], minlength=size)
    return total


def _bigram_bits(train: np.ndarray, validation: np.ndarray, unigram: np.ndarray) -> float:
    """Bits of the validation tokens; the first one is predicted from the last training token."""
    size = len(unigram)
    pairs, counts = _pair_counts(train, size)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    first = pairs // size
    context = np.bincount(first, weights=counts, minlength=size)
    followers = np.bincount(first, minlength=size)
    bits = 0.0
    for start in range(0, len(validation), READ_BLOCK):
        token = validation[start : start + READ_BLOCK].astype(np.int64)
        before = np.empty_like(token)
        before[0] = validation[start - 1] if start else train[-1]
        before[1:] = token[:-1]
        code = before * size + token
        at = np.minimum(np.searchsorted(pairs, code), max(len(pairs) - 1, 0))
        seen = np.where(pairs[at] == code, counts[at], 0) if len(pairs) else np.zeros(len(code))
        n = np.maximum(context[before], 1)
        known = (
            np.maximum(seen - discount, 0) / n + discount * followers[before] / n * unigram[token]
        )
        probability = np.where(context[before] > 0, known, unigram[token])
        bits -= float(np.log2(probability).sum())
    return bits


def _pair_counts(tokens: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The different pairs a·V + b in order, and how often each occurs."""
    small = size * size <= TABLE
    table = np.zeros(size * size if small else 0, dtype=np.int64)
    codes, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for start in range(0, len(tokens) - 1, READ_BLOCK):
        block = tokens[start : start + READ_BLOCK + 1].astype(np.int64)
        pairs = block[:-1] * size + block[1:]
        if small:
            table += np.bincount(pairs, minlength=size * size)
        else:
            fresh, fresh_counts = np.unique(pairs, return_counts=True)
            codes, inverse = np.unique(np.concatenate([codes, fresh]), return_inverse=True)
            counts = np.bincount(inverse, np.concatenate([counts, fresh_counts])).astype(np.int64)
    if small:
        codes = np.flatnonzero(table)
        counts = table[codes]
    return codes, counts


def _compressors(dataset: Dataset) -> list[Baseline]:
    """Compress the validation text as if it were appended to the training text."""
    decode = dataset.tokenizer.decode_bytes
    validation, train = decode(dataset.validation[:SAMPLE]), decode(dataset.train[-XZ_TRAIN:])
    part = last = ""
    if len(dataset.validation) > SAMPLE or len(validation) > SAMPLE:
        validation = validation[:SAMPLE]
        part = f"; the first {len(validation):,} bytes"
    if len(dataset.train) > XZ_TRAIN or len(train) > XZ_TRAIN:
        train = train[-XZ_TRAIN:]
        last = f"the last {len(train):,} bytes of "

    def zipped(text: bytes) -> int:
        return len(gzip.compress(text, 9, mtime=0))

    def xzipped(text: bytes) -> int:
        return len(lzma.compress(text, preset=6))  # its dictionary of 8 MiB holds all of it

    tail = train[-4 * GZIP_WINDOW :]
    near = f"the last {len(tail):,} bytes of " if len(tail) < len(train) or last else ""
    bits = 8 / len(validation)
    return [
        Baseline(
            "gzip",
            (zipped(tail + validation) - zipped(tail)) * bits,
            f"level 9 after {near}the training text; it looks 32 KiB back{part}",
        ),
        Baseline(
            "xz",
            (xzipped(train + validation) - xzipped(train)) * bits,
            f"preset 6 after {last}the training text{part}",
        ),
    ]
