"""Rows of token ids: checked, and cut into parts."""

from collections.abc import Iterator

import numpy as np

from whence.errors import WhenceError


def check_tokens(tokens: np.ndarray, vocab_size: int) -> None:
    """Raises WhenceError where `tokens` isn't a row of ids of the vocabulary.

    Raises:
        WhenceError: what is wrong with them, and where.
    """
    if tokens.ndim != 1 or tokens.dtype.kind not in "ui":
        raise WhenceError(
            f"The tokens are an array of shape {tokens.shape} of {tokens.dtype}: give one row of "
            "integers."
        )
    if len(tokens) == 0:
        raise WhenceError("There are no tokens to count: give a text with at least one.")
    if len(tokens) >= 1 << 32:
        raise WhenceError(
            f"The text has {len(tokens):,} tokens, and counting goes up to {(1 << 32) - 1:,}: "
            "count a part of it."
        )
    for part in parts_of(len(tokens), 1 << 24):
        low, high = int(tokens[part].min()), int(tokens[part].max())
        if low < 0 or high >= vocab_size:
            wrong = low if low < 0 else high
            raise WhenceError(
                f"Token id {wrong} is outside the vocabulary of {vocab_size}: encode the text "
                "with the tokenizer that this model was made for."
            )


def parts_of(length: int, size: int) -> Iterator[slice]:
    """Cuts 0 … length − 1 into slices of `size`, the last one shorter."""
    for begin in range(0, length, size):
        yield slice(begin, min(begin + size, length))
