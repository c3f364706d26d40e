"""What a run's model makes of a text: its loss on every token."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from whence.data import Source, prepare, text_source
from whence.data.tokenizers.words import UNKNOWN_ID
from whence.models.seq2seq import Seq2Seq
from whence.runs.pairs import measure_pairs, pairs_of, parse_pairs
from whence.scale.hardware import find_device
from whence.train.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    from whence.runs.run import Run


def measure(run: "Run", text: str | Source | None, at: int | Literal["best", "last"]) -> Evaluation:
    """Measure the loss over all of a text; see `Run.evaluate`."""
    model = run.model(at)
    if isinstance(model, Seq2Seq):
        if text is None:
            pairs = pairs_of(run.dataset, model.config)[1]
        else:
            whole = text if isinstance(text, str) else "".join(text.chunks())
            pairs = parse_pairs(whole, run.tokenizer, model.config)
        return measure_pairs(model, pairs, run.tokenizer)
    device = find_device("auto")
    context_length = run.recipe.model.context_length
    with _tokens_of(run, text) as (tokens, n_bytes):
        result = evaluate(
            model.to(device),
            tokens,
            context_length=context_length,
            stride=max(1, context_length // 2),
            n_bytes=n_bytes - run.tokenizer.n_bytes(tokens[:1]),  # the first isn't predicted
            device=device,
        )
        unknown = int((tokens[1:] == UNKNOWN_ID).sum()) if run.tokenizer.kind == "words" else 0
    return replace(result, n_unknown=unknown)


@contextmanager
def _tokens_of(run: "Run", text: str | Source | None) -> Iterator[tuple[np.ndarray, int]]:
    """Give a text's tokens, mapped from disk, and how many bytes it has."""
    if text is None:
        yield run.dataset.validation, run.dataset.n_bytes_validation
        return
    source = text_source("the text", lambda: [text]) if isinstance(text, str) else text
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kind, tokenizer = run.tokenizer.kind, run.tokenizer
        made = prepare(source, kind, None, 0, Path(folder), tokenizer)
        yield made.train, made.n_bytes_train
