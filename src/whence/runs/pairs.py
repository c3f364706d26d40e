"""What differs for an encoder–decoder's run: its text is lines of source, tab, target."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from whence.data import Dataset
from whence.data.pairs import as_part, check_marks, split_pairs
from whence.data.tokenizers import Tokenizer
from whence.errors import WhenceError
from whence.generate.pairs import exact_match
from whence.models.seq2seq import Seq2Seq, Seq2SeqConfig
from whence.train.evaluation import Evaluation, evaluate_parts

BATCH = 256
QUICK = 300  # pairs written out for exact match during training


def pairs_of(dataset: Dataset, config: Seq2SeqConfig) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut a dataset into pairs to train on and pairs held out; a pair cut by the split is left out.

    Raises:
        WhenceError: a line isn't a pair, is too long for the model, or nothing is held out.
    """
    marks = (config.separator, config.end)
    check_marks(dataset.tokenizer, *marks)
    train = split_pairs(dataset.train, *marks, first_is_whole=True, last_is_whole=False)
    held_out = split_pairs(dataset.validation, *marks, first_is_whole=False, last_is_whole=True)
    if not held_out:
        raise WhenceError(
            "no whole pair is held out for validation: give more lines, or raise --data.validation."
        )
    for pair in (*train, *held_out):
        cut = int(np.argmax(pair == config.separator))
        longest = max(cut, len(pair) - cut - 1)
        if longest > config.context_length:
            raise WhenceError(
                f"the pair {dataset.tokenizer.decode(pair)!r} has a side of {longest} tokens, but "
                f"the model reads {config.context_length}: set --model.context-length {longest}."
            )
    return train, held_out


def parse_pairs(text: str, tokenizer: Tokenizer, config: Seq2SeqConfig) -> list[np.ndarray]:
    """Cut a text of whole lines into pairs.

    Raises:
        WhenceError: a line isn't a pair, or there are none.
    """
    tokens = np.asarray(tokenizer.encode(text))
    found = split_pairs(
        tokens, config.separator, config.end, first_is_whole=True, last_is_whole=True
    )
    if not found:
        raise WhenceError("the text has no pairs: each line must be a source, a tab and a target.")
    return found


def measure_pairs(
    model: Seq2Seq,
    pairs: list[np.ndarray],
    tokenizer: Tokenizer,
    n_tokens: int | None = None,
    precision: Callable[[], AbstractContextManager] = nullcontext,
) -> Evaluation:
    """Measure loss and exact match on pairs; with `n_tokens` on about so many tokens of them.

    Args:
        model: the encoder–decoder.
        pairs: ids of source, tab, target and line break.
        tokenizer: what the ids mean.
        n_tokens: stop after so many tokens, and write out a few hundred targets only.
        precision: a context such as autocast.
    """
    c = model.config
    if n_tokens is not None:
        ends = np.cumsum([len(pair) for pair in pairs])
        pairs = pairs[: max(1, int(np.searchsorted(ends, n_tokens)))]
    device = model.head.weight.device
    parts = []
    for start in range(0, len(pairs), BATCH):
        part = as_part(pairs[start : start + BATCH], c.separator, c.end)
        parts.append(part._replace(inputs=part.inputs.to(device), targets=part.targets.to(device)))
    targets = [pair[int(np.argmax(pair == c.separator)) + 1 :] for pair in pairs]
    n_bytes = tokenizer.n_bytes(np.concatenate(targets))
    found = evaluate_parts(model, parts, n_bytes=n_bytes, precision=precision)
    written = pairs if n_tokens is None else pairs[:QUICK]
    return Evaluation(found.loss, found.n_tokens, n_bytes, exact_match(model, written))
