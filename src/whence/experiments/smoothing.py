"""Does a longer n-gram do better? What smoothing has to do with it."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whence.data import open_source, prepare
from whence.experiments.common import Report
from whence.models.ngram.model import NGram, NGramConfig

ORDERS = (1, 2, 3, 4)


def smoothing(text: str | Sequence[str] = "topics") -> Report:
    """Count the words of a text's first nine tenths and measure perplexity on the last tenth.

    Perplexity depends on what a word is. The first two columns take the words of `--data.tokenizer
    words`, each with its space; the third takes words and marks in lower case, without spaces, and
    for a word seen once only `<UNK>`: fewer words, and marks are easily guessed.

    Args:
        text: as `open_source` takes it.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(open_source(text), "words", None, 0.1, Path(folder))
        train, validation = dataset.train.copy(), dataset.validation.copy()
        size = dataset.tokenizer.vocab_size
        lower = _lower_case("".join(open_source(text).chunks()))
        del dataset  # lets go of the file, which Windows can't remove otherwise
    found: dict[str, list[float]] = {"add-k": [], "kneser-ney": []}
    for kind in found:
        for n in ORDERS:
            config = NGramConfig(order=n, smoothing="add-k" if kind == "add-k" else "kneser-ney")
            found[kind].append(NGram(config, size).fit(train).perplexity(validation))
    known, heard, held_out = lower
    found["add-k, lower case"] = [
        NGram(NGramConfig(order=n, smoothing="add-k"), known).fit(heard).perplexity(held_out)
        for n in ORDERS
    ]
    add, kneser, marks = found.values()
    verdict = "worse" if add[2] > add[1] else "better"
    return Report(
        question="Does a trigram with add-one smoothing beat the bigram?",
        setting=f"{len(train):,} words of {text} counted, {size:,} different ones; perplexity on "
        f"the {len(validation):,} that follow; words and marks in lower case: {known:,} different",
        columns=(
            "order",
            "add-one",
            "modified Kneser–Ney",
            "add-one, words and marks in lower case",
        ),
        rows=[
            (str(n), *(f"{perplexity:.1f}" for perplexity in row))
            for n, *row in zip(ORDERS, add, kneser, marks, strict=True)
        ],
        answer=f"With add-one the trigram is {verdict} than the bigram ({add[2]:.1f} against "
        f"{add[1]:.1f}): most contexts of two words are rare, and one added for each of {size:,} "
        f"words drowns what was counted. With Kneser–Ney the same counts give {kneser[2]:.1f}. "
        "Smoothing matters more than order.",
        data=found,
    )


def _lower_case(text: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Words and marks in lower case: how many are known, and the ids of both parts of the text.

    Those seen only once in the first nine tenths are `<UNK>`, 0.
    """
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    cut = int(len(words) * 0.9)
    counts = Counter(words[:cut])
    ids = {word: i for i, word in enumerate((w for w, n in counts.items() if n > 1), start=1)}
    numbers = np.array([ids.get(word, 0) for word in words])
    return len(ids) + 1, numbers[:cut], numbers[cut:]
