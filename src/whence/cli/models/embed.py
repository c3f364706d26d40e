"""`whence embed`: how alike a model finds texts, or one word in several texts."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.runs.run import Run


def embed(
    run: Annotated[Path, tyro.conf.Positional],
    texts: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    *,
    word: str | None = None,
    json: bool = False,
) -> None:
    """Compare texts by the cosine of the vectors that a trained model makes of them.

    The vector of a text is the mean over its tokens. With --word it is that of one word in its
    context, which differs from text to text where its embedding is always the same.

    Args:
        run: a run, best of `--model encoder` or `seq2seq`, which read both ways; others read back
            only.
        texts: two texts or more.
        word: compare this word, which must be in each of the texts.
        json: print JSON instead of a table.
    """
    from whence.runs.questions.embed import cosines, unknown

    opened = Run.open(run)
    found = cosines(opened, texts, word)
    missing = unknown(opened, texts)
    if json:
        told = {"schema": 1, "run": str(run), "texts": list(texts), "word": word}
        print(strict({**told, "cosines": found, "unknown_words": missing}))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(f"cosine of {word!r} in" if word else "cosine of")
    for number in range(1, len(texts) + 1):
        table.add_column(f"{number}", justify="right")
    for number, (text, row) in enumerate(zip(texts, found, strict=True), start=1):
        table.add_row(f"{number} {text[:60]}", *(f"{c:.3f}" for c in row))
    Console(soft_wrap=True).print(table)
    for number, (text, n) in enumerate(zip(texts, missing, strict=True), start=1):
        if n:
            read = opened.tokenizer.decode(opened.tokenizer.encode(text))
            print(
                f"text {number} has {n} unknown word{'s' * (n != 1)}, which all look alike: it is "
                f"read as {read[:80]!r}"
            )
