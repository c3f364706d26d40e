"""`whence count`: an n-gram model of sentences, every count and every probability shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.data import open_source
from whence.errors import WhenceError

if TYPE_CHECKING:
    from whence.experiments.text.sentences import SentenceCounts, Step

SHOWN = 12  # contexts, and words after each


def count(
    text: Annotated[str, tyro.conf.Positional] = "I like to eat. I like pizza.",
    *,
    order: int = 2,
    add: float = 0.0,
    unknown: bool = False,
    lower: bool = False,
    lines: bool = False,
    after: str | None = None,
    ask: str | None = None,
    write: int = 3,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Count which word follows which in a text's sentences, and show the probabilities.

    P(word | before) = (count + k) / (total + k · outcomes). Outcomes are the text's words and the
    end of a sentence, which a full stop marks.

    Args:
        text: a text, or a file or built-in one.
        order: 2 looks at the word before (a bigram), 3 at two, 1 at none.
        add: k, what is added to each count; 1 is Laplace's.
        unknown: count `<UNK>`, any other word, among the outcomes.
        lower: treat "The" and "the" as the same word.
        lines: each line is a sentence, such as a name.
        after: only show what follows these words.
        ask: a sentence whose probability is computed, word by word.
        write: how many sentences to draw.
        seed: of the draws.
        json: print one JSON object.
    """
    from whence.experiments.text.sentences import SentenceCounts, sentences

    if write < 0:
        raise WhenceError(f"--write is {write}: give 0 or more.")
    found = sentences(_read(text), lower, lines)
    counts = SentenceCounts(found, order, add, unknown)
    contexts = counts.contexts[:SHOWN] if after is None else [_words(after, lower, lines)]
    tables = [counts.distribution(*context) for context in contexts]
    asked = None if ask is None else counts.steps(_words(ask, lower, lines))
    draw = np.random.default_rng(seed)
    written = [" ".join(counts.write(draw)) for _ in range(write)]
    if json:
        record: dict[str, Any] = {
            "schema": 1,
            "sentences": len(found),
            "outcomes": counts.outcomes,
            "contexts": [_record(table) for table in tables],
            "asked": None if asked is None else [vars(step) for step in asked],
            "written": written,
        }
        print(strict(record))
        return
    console = Console(soft_wrap=True)
    n = len(counts.outcomes)
    console.print(
        f"{len(found):,} sentences, {sum(map(len, found)):,} words; {n:,} outcomes: "
        f"{', '.join(counts.outcomes[:SHOWN])}{' …' if n > SHOWN else ''}"
    )
    for table in tables:
        console.print(f"\nafter {' '.join(table[0].context) or 'anything'}")
        for step in table[:SHOWN]:
            if step.p > 0:
                console.print(f"  {step.word:<16} {_fraction(step, counts):<24} {step.p:.4f}")
    if after is None and len(counts.contexts) > SHOWN:
        console.print(f"\nand {len(counts.contexts) - SHOWN:,} more contexts; --after shows any")
    if asked is not None:
        _print_product(console, asked, counts)
    if written:
        console.print("\nit writes")
        for sentence in written:
            console.print(f"  {sentence}")


def _read(text: str) -> str:
    if text == "-" or text == "topics" or text == "stories" or Path(text).exists():
        return "".join(open_source(text).chunks())
    return text


def _words(text: str, lower: bool, lines: bool) -> tuple[str, ...]:
    from whence.experiments.text.sentences import sentences

    found = sentences(text, lower, lines)
    if len(found) > 1:
        raise WhenceError(f"{text!r} is {len(found)} sentences: give one.")
    return tuple(found[0]) if found else ()


def _fraction(step: Step, counts: SentenceCounts) -> str:
    """The count over the total, smoothed or not.

    Example:
        >>> from whence.experiments.text.sentences import SentenceCounts
        >>> counts = SentenceCounts([["I", "like"]], k=1)
        >>> _fraction(counts.distribution("I")[0], counts)
        '(1 + 1) / (1 + 1 · 3)'
    """
    if not counts.k:
        return f"{step.count} / {step.total}"
    k, n = f"{counts.k:g}", len(counts.outcomes)
    return f"({step.count} + {k}) / ({step.total} + {k} · {n})"


def _print_product(console: Console, steps: list[Step], counts: SentenceCounts) -> None:
    console.print("\nthe probability of the sentence, word by word")
    for step in steps:
        before = " ".join(step.context)
        condition = f"P({step.word} | {before})" if before else f"P({step.word})"
        console.print(f"  {condition:<32} {_fraction(step, counts):<24} {step.p:.6f}")
    logs = [math.log(step.p) if step.p else -math.inf for step in steps]
    total = math.fsum(logs) if min(logs) > -math.inf else -math.inf
    console.print(
        f"  product {math.exp(total):.6g}; ln P = {total:.6f}; perplexity "
        f"{math.exp(-total / len(steps)) if total > -math.inf else math.inf:.4f}"
    )
    if total == -math.inf:
        console.print("  a pair that the text never has makes it 0: add to the counts with --add")


def _record(table: list[Step]) -> dict[str, Any]:
    return {
        "context": list(table[0].context),
        "total": table[0].total,
        "next": [{"word": s.word, "count": s.count, "p": s.p} for s in table if s.p > 0],
    }
