"""Answers in JSON: at each token, only those tokens stay that a grammar of the JSON allows."""

import json
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.data import Tokenizer
from whence.errors import WhenceError
from whence.interop.server.fields import ApiError

LARGEST_SCHEMA = 200_000  # characters
# White space between any two parts could go on for ever: one space, as json.dumps puts it.
WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Guide:
    """Keeps one answer to a grammar.

    Args:
        matcher: of llguidance, at the beginning of the answer.
        vocab_size: how many tokens the model knows.
    """

    def __init__(self, matcher: Any, vocab_size: int):
        self._matcher, self._size = matcher, vocab_size

    def allow(self, logits: Tensor) -> Tensor:
        """Return logits [V] with −∞ for each token that the answer can't go on with."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self._size].astype(bool)
        if self._matcher.is_error() or not allowed.any():
            raise ValueError(f"no token keeps to response_format. {self._matcher.get_error()}")
        return logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)

    def take(self, token: int) -> bool:
        """Go on by a token; True where the answer is whole and nothing can follow."""
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} doesn't keep to response_format.")
        return self._matcher.is_stopped()


class JsonFormat:
    """Makes guides for a tokenizer.

    Args:
        tokenizer: of the model that answers.

    Example:
        >>> from whence.data.tokenizers.bytes import ByteTokenizer
        >>> form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": 7}}}
        >>> guide = JsonFormat(ByteTokenizer()).guide(form)
        >>> int(guide.allow(torch.zeros(256)).argmax()), guide.take(ord("7"))
        (55, True)
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._theirs: Any = None
        self._making = threading.Lock()

    def guide(self, form: Mapping[str, Any]) -> Guide:
        """Return what keeps one answer to a `response_format`, which isn't plain text.

        Raises:
            ApiError: a form that isn't known, a schema that can't be compiled, or llguidance isn't
                installed.
        """
        schema = schema_of(form)
        try:
            package = import_module("llguidance")
        except ImportError as error:
            why = "needs the llguidance package where the server runs: 'pip install whence[serve]'."
            raise _refused(why, "unsupported") from error
        try:
            text = json.dumps(schema)
            if len(text) > LARGEST_SCHEMA:
                raise ValueError(f"it has more than {LARGEST_SCHEMA:,} characters")
            grammar = package.LLMatcher.grammar_from_json_schema(text, defaults=WRITTEN)
            matcher = package.LLMatcher(self._tokens(package), grammar, log_level=0)
            if matcher.is_error():
                raise ValueError(matcher.get_error())
        except (ValueError, RecursionError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise _refused(f"holds a schema that can't be compiled: {lines[0].rstrip('.')}.",
                           "invalid_schema") from error  # fmt: skip
        guide = Guide(matcher, self.tokenizer.vocab_size)
        try:
            guide.allow(torch.zeros(self.tokenizer.vocab_size))
        except ValueError as error:
            raise _refused("can't be kept: none of the model's tokens can begin such an answer.",
                           "unsupported") from error  # fmt: skip
        return guide

    def _tokens(self, package: Any) -> Any:
        """The tokenizer as llguidance reads it, made when it is first asked for."""
        with self._making:
            if self._theirs is None:
                made = package.TokenizerWrapper(_Bytes(self.tokenizer))
                n, ends = self.tokenizer.vocab_size, list(self.tokenizer.ends)
                # Where no token ends a text, one more than there are stands for the end.
                self._theirs = package.LLTokenizer(made, n_vocab=n + 1, eos_token=ends or [n])
            return self._theirs


class _Bytes:
    """What llguidance asks of a tokenizer: the bytes of each token, and which are no text."""

    def __init__(self, tokenizer: Tokenizer):
        n = tokenizer.vocab_size
        special = set(getattr(tokenizer, "special", {}).values()) | {n, *tokenizer.ends}
        self.tokens = [*(bytes(tokenizer.decode_bytes([i])) for i in range(n)), b"<|end|>"]
        self.special_token_ids = sorted(special)
        self.bos_token_id = None
        self.eos_token_id = next(iter(tokenizer.ends), n)
        self._encode, self._decode = tokenizer.encode, tokenizer.decode_bytes
        self._numbers = {raw: i for i, raw in enumerate(self.tokens[:n]) if i not in special}
        self._longest = max(map(len, self._numbers))

    def __call__(self, text: str) -> list[int]:
        """Cut a text that must come next, so that its tokens stand for it and no more."""
        if not isinstance(text, str):
            raise TypeError("bytes aren't text")  # by which llguidance learns to give text
        try:
            ids = self._encode(text).tolist()
            if self._decode(ids) == text.encode():
                return ids
        except WhenceError:  # a character that the model doesn't know
            pass
        return self._greedy(text.encode())  # SentencePiece puts a space ahead of each text

    def _greedy(self, raw: bytes) -> list[int]:
        ids, place = [], 0
        while place < len(raw):
            sizes = range(min(self._longest, len(raw) - place), 0, -1)
            size = next((n for n in sizes if raw[place : place + n] in self._numbers), 0)
            if not size:
                return ids
            ids.append(self._numbers[raw[place : place + size]])
            place += size
        return ids


def schema_of(form: Mapping[str, Any]) -> Any:
    """Return the JSON schema that a `response_format` asks for.

    Raises:
        ApiError: where it is of no known form.

    Example:
        >>> schema_of({"type": "json_object"})
        {'type': 'object'}
    """
    if form.get("type") == "json_object":
        return {"type": "object"}
    if form.get("type") != "json_schema":
        raise _refused("must have the type text, json_object or json_schema.", None)
    given = form.get("json_schema")
    schema = given.get("schema") if isinstance(given, Mapping) else None
    if not isinstance(schema, Mapping):
        raise _refused("of type json_schema must have a json_schema.schema, an object.", None)
    return schema


def _refused(why: str, code: str | None) -> ApiError:
    return ApiError(400, f"'response_format' {why}", "response_format", code)
