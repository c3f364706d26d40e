"""What the server says: OpenAI's JSON, whole or piece by piece."""

import base64
import json
import struct
import time
from collections.abc import Sequence
from typing import Any

from whence.data import Tokenizer
from whence.interop.server.engine import Piece


class Replies:
    """Forms the replies to one request.

    Args:
        number: the answer's id.
        model: the model's name.
        tokenizer: shows tokens.
        chat: whether it is a chat, else a completion.
        n_top: how many likeliest tokens to tell; None for no log probabilities.

    Example:
        >>> Replies("chatcmpl-1", "mine", None, True, None).chunk(0, [], None)["object"]
        'chat.completion.chunk'
    """

    def __init__(
        self, number: str, model: str, tokenizer: Tokenizer | Any, chat: bool, n_top: int | None
    ):
        self.tokenizer, self.chat, self.n_top = tokenizer, chat, n_top
        self.head = {"id": number, "created": int(time.time()), "model": model}
        self._places: dict[int, int] = {}  # of each choice, how long its text is so far

    def whole(self, choices: Sequence[Sequence[Piece]], n_prompt: int) -> dict[str, Any]:
        """The reply that isn't streamed."""
        told = []
        for index, pieces in enumerate(choices):
            text = "".join(piece.text for piece in pieces)
            choice: dict[str, Any] = {"index": index, "finish_reason": pieces[-1].finished}
            if self.chat:
                choice["message"] = {"role": "assistant", "content": text, "refusal": None}
            else:
                choice["text"] = text
            choice["logprobs"] = self._logprobs(index, pieces)
            told.append(choice)
        kind = "chat.completion" if self.chat else "text_completion"
        usage = self.usage(n_prompt, sum(map(len, choices)))
        return {**self.head, "object": kind, "choices": told, "usage": usage}

    def chunk(self, index: int, pieces: Sequence[Piece], finished: str | None) -> dict[str, Any]:
        """One event of a stream; without pieces it begins or ends a choice."""
        text = "".join(piece.text for piece in pieces)
        choice: dict[str, Any] = {"index": index, "finish_reason": finished}
        if self.chat:
            begins = not pieces and finished is None
            choice["delta"] = (
                {"role": "assistant", "content": ""} if begins else {"content": text} if pieces
                else {}
            )  # fmt: skip
        else:
            choice["text"] = text
        choice["logprobs"] = self._logprobs(index, pieces) if pieces else None
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self.head, "object": kind, "choices": [choice]}

    def counts(self, n_prompt: int, n_written: int) -> dict[str, Any]:
        """The event that ends a stream with how many tokens there were."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {
            **self.head,
            "object": kind,
            "choices": [],
            "usage": self.usage(n_prompt, n_written),
        }

    @staticmethod
    def usage(n_prompt: int, n_written: int) -> dict[str, int]:
        """How many tokens were read and written."""
        return {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_written,
            "total_tokens": n_prompt + n_written,
        }

    def _logprobs(self, index: int, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        known = [piece for piece in pieces if piece.token is not None]
        if self.n_top is None:
            return None
        if self.chat:
            content = [
                {
                    **self._token(piece.token, piece.logprob),
                    "top_logprobs": [self._token(token, log) for token, log in piece.top],
                }
                for piece in known
            ]
            return {"content": content, "refusal": None}
        show, places = self.tokenizer.decode, []
        for piece in known:
            places.append(self._places.get(index, 0))
            self._places[index] = places[-1] + len(piece.text)
        return {
            "tokens": [show([piece.token]) for piece in known],
            "token_logprobs": [piece.logprob for piece in known],
            "top_logprobs": [{show([t]): log for t, log in piece.top} for piece in known],
            "text_offset": places,
        }

    def _token(self, token: int | None, logprob: float) -> dict[str, Any]:
        raw = self.tokenizer.decode_bytes([token])
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}


def event(value: dict[str, Any] | str) -> bytes:
    r"""Write one event of a stream.

    Example:
        >>> event("[DONE]")
        b'data: [DONE]\n\n'
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def embeddings(
    vectors: Sequence[Sequence[float]], model: str, n_tokens: int, as_base64: bool
) -> dict[str, Any]:
    """Return the reply to a request for embeddings.

    Example:
        >>> embeddings([[1.0]], "mine", 3, False)["data"][0]["embedding"]
        [1.0]
    """

    def written(vector: Sequence[float]) -> Any:
        if not as_base64:
            return list(vector)
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

    data = [
        {"object": "embedding", "index": i, "embedding": written(vector)}
        for i, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}
