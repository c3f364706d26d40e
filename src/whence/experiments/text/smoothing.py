"""Does a longer n-gram do better? What smoothing has to do with it."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from whence.data import open_source, prepare
from whence.experiments.common import DIFFERENCE, Interval, Report, mean_interval
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
    source = open_source(text)
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(source, "words", None, 0.1, Path(folder))
        train, validation = dataset.train.copy(), dataset.validation.copy()
        size = dataset.tokenizer.vocab_size
        lower = _lower_case("".join(source.chunks()))
        del dataset  # lets go of the file, which Windows can't remove otherwise
    found: dict[str, list[float]] = {"add-k": [], "kneser-ney": []}
    scores: dict[tuple[str, int], np.ndarray] = {}  # ln P of each word
    for kind in found:
        for n in ORDERS:
            config = NGramConfig(order=n, smoothing="add-k" if kind == "add-k" else "kneser-ney")
            scores[kind, n] = NGram(config, size).fit(train).score(validation).astype(np.float64)
            found[kind].append(float(np.exp(-scores[kind, n].mean())))
    known, heard, held_out = lower
    found["add-k, lower case"] = [
        NGram(NGramConfig(order=n, smoothing="add-k"), known).fit(heard).perplexity(held_out)
        for n in ORDERS
    ]
    add, kneser, marks = found.values()
    order = over_blocks(scores["add-k", 2] - scores["add-k", 3])
    method = over_blocks(scores["kneser-ney", 3] - scores["add-k", 3])
    return Report(
        question="Does a trigram with add-one smoothing beat the bigram?",
        setting=f"{len(train):,} words of {source.name} counted, {size:,} different ones; "
        f"perplexity on the {len(validation):,} that follow; words and marks in lower case: "
        f"{known:,} different",
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
        answer=conclusion(add, kneser, size, order, method),
        data=found,
    )


def over_blocks(nats: np.ndarray, blocks: int = 20) -> Interval:
    """The mean of a difference in nats per word, with an interval over stretches of the text."""
    parts = [part.mean() for part in np.array_split(nats, min(blocks, len(nats)))]
    return mean_interval([float(x) for x in parts], DIFFERENCE)


def conclusion(
    add: Sequence[float], kneser: Sequence[float], size: int, order: Interval, method: Interval
) -> str:
    """Say what order and smoothing did.

    Args:
        add: perplexities with add-one, by order from 1.
        kneser: with Kneser–Ney.
        size: different words.
        order: what a second word of context costs with add-one, nats per word.
        method: what Kneser–Ney saves over add-one in the trigram, nats per word.
    """
    figures = f"({add[2]:.1f} against {add[1]:.1f})"
    if order > 0:
        told = f"With add-one the trigram is worse than the bigram {figures}: most contexts of two "
        told += f"words are rare, and one added for each of {size:,} words drowns what was counted."
    elif order < 0:
        told = f"With add-one the trigram is better than the bigram {figures}: contexts of two "
        told += f"words are frequent enough here for one added to each of {size:,} words."
    else:
        told = "Whether the trigram or the bigram is better with add-one, this text leaves open "
        told += f"{figures}: it is too short to tell them apart."
    told += f" With Kneser–Ney the same counts give {kneser[2]:.1f}. "
    more = matters_more(order, method)
    if more is None:
        return told + "Which of the two matters more, this text doesn't settle."
    less = "order" if more == "smoothing" else "smoothing"
    return told + f"{more.capitalize()} matters more than {less} here."


def matters_more(order: Interval, method: Interval) -> Literal["smoothing", "order"] | None:
    """Which of two effects is larger; None where their intervals, sign aside, overlap.

    Args:
        order: what a second word of context costs, or saves where it is below 0.
        method: what the other smoothing saves.
    """
    sizes = sorted((abs(order.low), abs(order.high)))
    if method > sizes[1]:
        return "smoothing"
    least = 0.0 if order.low < 0 < order.high else sizes[0]
    return "order" if max(abs(method.low), abs(method.high)) < least else None


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
