"""What a client may ask: the fields of a request, each checked, and errors as OpenAI has them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whence.errors import WhenceError
from whence.generate.sampling import Sampling

MOST_CHOICES, MOST_STOPS, MOST_TOP = 16, 4, 20
# What other servers do and this one doesn't: asking for it is an error, not left out in silence.
UNSUPPORTED = ("tools", "tool_choice", "functions", "function_call", "audio", "modalities",
               "prediction", "web_search_options", "suffix", "best_of")  # fmt: skip


class ApiError(Exception):
    """A request that can't be answered.

    Attributes:
        status: the HTTP status.
        body: the error as OpenAI's clients read it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Asked:
    """How a request wants its texts written.

    Attributes:
        sampling: temperature and top_p.
        max_tokens: the longest answer; None for as long as there is room.
        n: how many choices.
        seed: of the draws.
        stop: strings that end a text.
        frequency_penalty: see `Job`.
        presence_penalty: see `Job`.
        bias: see `Job`.
        n_top: how many likeliest tokens to tell; None for no log probabilities at all.
        stream: send pieces as they are written.
        usage: end a stream with the counts of tokens.
        form: a `response_format` that isn't plain text, else None.
    """

    sampling: Sampling
    max_tokens: int | None
    n: int
    seed: int
    stop: tuple[str, ...]
    frequency_penalty: float
    presence_penalty: float
    bias: dict[int, float]
    n_top: int | None
    stream: bool
    usage: bool
    form: Mapping[str, Any] | None = None


def read_settings(body: Mapping[str, Any], vocab_size: int, chat: bool) -> Asked:
    """Read what chat and completion requests have in common.

    Raises:
        ApiError: naming the field that doesn't fit.

    Example:
        >>> read_settings({"temperature": 0, "stop": "END"}, 100, chat=True).stop
        ('END',)
    """
    for name in UNSUPPORTED:
        if body.get(name) not in (None, [], {}, "none", "auto", ""):
            raise ApiError(
                400, f"This server doesn't support '{name}': leave it out.", name, "unsupported"
            )
    form = body.get("response_format")
    if form is not None and not isinstance(form, Mapping):
        raise ApiError(400, "'response_format' must be an object with a type.", "response_format")
    most = _whole(body, "max_completion_tokens", None, 1, 10**9)
    most = _whole(body, "max_tokens", None if chat else 16, 1, 10**9) if most is None else most
    seed = _whole(body, "seed", None, -(2**63), 2**63 - 1)
    options = body.get("stream_options") or {}
    try:
        sampling = Sampling(
            _number(body, "temperature", 1.0, 0, 2), top_p=_number(body, "top_p", 1.0, 0, 1)
        )
    except WhenceError as error:
        raise ApiError(400, str(error), "top_p") from error
    n = _whole(body, "n", 1, 1, MOST_CHOICES)
    assert n is not None
    return Asked(
        sampling=sampling,
        max_tokens=most,
        n=n,
        seed=secrets.randbits(62) if seed is None else seed % 2**63,
        stop=_stops(body),
        frequency_penalty=_number(body, "frequency_penalty", 0.0, -2, 2),
        presence_penalty=_number(body, "presence_penalty", 0.0, -2, 2),
        bias=_bias(body, vocab_size),
        n_top=_top(body, chat),
        stream=_flag(body, "stream"),
        usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        form=None if form is None or form.get("type") == "text" else form,
    )


def read_messages(body: Mapping[str, Any]) -> list[dict[str, str]]:
    """Read a chat request's messages; a content in parts is joined.

    Raises:
        ApiError: where there are none, or one holds more than text.

    Example:
        >>> read_messages({"messages": [{"role": "user", "content": "Hi"}]})
        [{'role': 'user', 'content': 'Hi'}]
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "'messages' must be a list of one message or more.", "messages")
    read: list[dict[str, str]] = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ApiError(400, f"'{where}' must have a role.", where)
        content = message.get("content")
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
            if not all(isinstance(part, str) for part in parts):
                raise ApiError(400, f"'{where}.content' must be text.", f"{where}.content")
            content = "".join(parts)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if not isinstance(content, str):
            raise ApiError(400, f"'{where}.content' must be text.", f"{where}.content")
        role = "system" if message["role"] == "developer" else message["role"]
        read.append({"role": role, "content": content})
    return read


def read_texts(body: Mapping[str, Any], name: str, vocab_size: int) -> list[str | list[int]]:
    """Read one text or several, each as text or as ids of tokens.

    Raises:
        ApiError: where it is neither.

    Example:
        >>> read_texts({"input": ["a", "b"]}, "input", 9), read_texts({"input": [1, 2]}, "input", 9)
        (['a', 'b'], [[1, 2]])
    """
    value = body.get(name)
    if isinstance(value, str) or (isinstance(value, list) and value and _is_id(value[0])):
        value = [value]
    if not isinstance(value, list) or not value or len(value) > 2048:
        raise ApiError(400, f"'{name}' must be a text, or a list of 1 to 2,048 of them.", name)
    for text in value:
        if isinstance(text, str):
            continue
        if not isinstance(text, list) or not text or not all(_is_id(i) for i in text):
            raise ApiError(400, f"'{name}' must hold texts, or lists of token ids.", name)
        if not all(0 <= i < vocab_size for i in text):
            raise ApiError(400, f"'{name}' has an id outside 0 … {vocab_size - 1}.", name)
    return value


def _is_id(value: Any) -> bool:
    return type(value) is int


def _whole(
    body: Mapping[str, Any], name: str, default: int | None, low: int, high: int
) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not low <= value <= high:
        raise ApiError(400, f"'{name}' must be a whole number from {low} to {high}.", name)
    return value


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ApiError(400, f"'{name}' must be a number from {low:g} to {high:g}.", name)
    return float(value)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ApiError(400, f"'{name}' must be true or false.", name)
    return value


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    value = body.get("stop")
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > MOST_STOPS
        or not all(isinstance(stop, str) and stop for stop in stops)
    ):
        raise ApiError(400, f"'stop' must be a text, or 1 to {MOST_STOPS} of them.", "stop")
    return tuple(stops)


def _bias(body: Mapping[str, Any], vocab_size: int) -> dict[int, float]:
    value = body.get("logit_bias") or {}
    wrong = ApiError(400, "'logit_bias' must map token ids to numbers from -100 to 100.",
                     "logit_bias")  # fmt: skip
    if not isinstance(value, Mapping):
        raise wrong
    try:
        bias = {int(token): float(number) for token, number in value.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong from error
    if any(not 0 <= t < vocab_size or not -100 <= b <= 100 for t, b in bias.items()):
        raise wrong
    return bias


def _top(body: Mapping[str, Any], chat: bool) -> int | None:
    """How many likeliest tokens to tell; None for no log probabilities."""
    if not chat:
        return _whole(body, "logprobs", None, 0, MOST_TOP)
    wanted, top = _flag(body, "logprobs"), _whole(body, "top_logprobs", None, 0, MOST_TOP)
    if top is not None and not wanted:
        raise ApiError(400, "'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    return (top or 0) if wanted else None
