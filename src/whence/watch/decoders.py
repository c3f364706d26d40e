"""A tokenizer that a model from Hugging Face brings along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers


def decoder_of(tokenizer: Any) -> Callable[[int], str] | None:
    """Return token id → its text, of a tokenizer of transformers or of `tokenizers`."""
    decode = getattr(tokenizer, "decode", None)
    if not callable(decode):  # such as a processor's
        inner = getattr(tokenizer, "tokenizer", None)
        return None if inner is None else decoder_of(inner)
    special = "skip_special_tokens"  # an end of text is a token like others

    def text(token: int) -> str:
        return str(decode([int(token)], **{special: False}))

    return text


def found_decoder(models: list[Any]) -> Callable[[int], str] | None:
    """Find the tokenizer beside the files that a model was loaded from; nothing is downloaded."""
    for model in models:
        path = getattr(getattr(model, "config", None), "_name_or_path", "")
        file = Path(path) / "tokenizer.json" if isinstance(path, str) and path else None
        if file is not None and file.is_file():
            try:
                return decoder_of(tokenizers.Tokenizer.from_file(str(file)))
            except Exception:  # tokenizers raises bare Exceptions; labels are no reason to fail
                return None
    return None
