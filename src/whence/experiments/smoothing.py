"""Does a longer n-gram do better? What smoothing has to do with it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from whence.data import open_source, prepare
from whence.experiments.common import Report
from whence.models.ngram import NGram, NGramConfig

ORDERS = (1, 2, 3, 4)


def smoothing(text: str | Sequence[str] = "topics") -> Report:
    """Count the words of a text's first nine tenths and measure perplexity on the last tenth.

    Args:
        text: as `open_source` takes it.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(open_source(text), "words", None, 0.1, Path(folder))
        train, validation = dataset.train.copy(), dataset.validation.copy()
        size = dataset.tokenizer.vocab_size
        del dataset  # lets go of the file, which Windows can't remove otherwise
    found: dict[str, list[float]] = {"add-k": [], "kneser-ney": []}
    for kind in found:
        for n in ORDERS:
            config = NGramConfig(order=n, smoothing="add-k" if kind == "add-k" else "kneser-ney")
            found[kind].append(NGram(config, size).fit(train).perplexity(validation))
    add, kneser = found["add-k"], found["kneser-ney"]
    verdict = "worse" if add[2] > add[1] else "better"
    return Report(
        question="Does a trigram with add-one smoothing beat the bigram?",
        setting=f"{len(train):,} words of {text} counted, {size:,} different ones; perplexity on "
        f"the {len(validation):,} that follow",
        columns=("order", "add-one", "modified Kneser–Ney"),
        rows=[
            (str(n), f"{a:.1f}", f"{k:.1f}") for n, a, k in zip(ORDERS, add, kneser, strict=True)
        ],
        answer=f"With add-one the trigram is {verdict} than the bigram ({add[2]:.1f} against "
        f"{add[1]:.1f}): most contexts of two words are rare, and one added for each of {size:,} "
        f"words drowns what was counted. With Kneser–Ney the same counts give {kneser[2]:.1f}. "
        "Smoothing matters more than order.",
        data=found,
    )
