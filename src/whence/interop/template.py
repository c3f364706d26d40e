"""Chat templates: small programs in Jinja2 that others wrote, run where they can do no harm."""

import ctypes
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from whence.errors import WhenceError

SECONDS = 5.0  # that a template may take
LARGEST = 50_000_000  # characters that it may write, or make by one multiplication
Message = Mapping[str, Any]


class _Sandbox(ImmutableSandboxedEnvironment):
    """No attribute of Python's own, nothing changed, no text multiplied until memory is full."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) if isinstance(x, str | list | tuple) else abs(x) for x in (left, right)]
        numbers = all(isinstance(x, int | float) for x in (left, right))
        if (operator == "**" and max(sizes) > 64) or (
            not numbers and sizes[0] * sizes[1] > LARGEST
        ):
            raise TemplateError("it multiplies too much")
        return super().call_binop(context, operator, left, right)


class _OutOfTimeError(BaseException):
    """Raised in the thread of a template that takes too long; no template can catch it."""


def render(
    template: str,
    messages: Sequence[Message],
    special_tokens: Mapping[str, str] | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """Write a conversation as its model reads it.

    Args:
        template: in Jinja2, with what the transformers library offers templates.
        messages: each with `role` and `content`.
        special_tokens: such as `bos_token`, by which a template may call them.
        add_generation_prompt: end with what stands before an answer.

    Raises:
        WhenceError: where the template isn't a template, refuses the messages, or takes too long.

    Example:
        >>> render("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
        ...        [{"role": "user", "content": "hi"}])
        'user: hi'
    """
    found: list[str] = []
    wrong: list[BaseException] = []
    values = {
        "messages": [dict(m) for m in messages],
        "add_generation_prompt": add_generation_prompt,
        "tools": None,
        "documents": None,
        **(special_tokens or {}),
    }

    def work() -> None:
        try:
            size = 0
            for piece in _environment().from_string(template).generate(values):
                found.append(piece)
                size += len(piece)
                if size > LARGEST:
                    raise TemplateError("it writes without end")
        except BaseException as error:  # handed on to the thread that asked
            wrong.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        _interrupt(thread)
        thread.join(SECONDS)
        raise WhenceError(
            f"the model's chat template took longer than {SECONDS:g} seconds: it may be endless; "
            "write the prompt by hand with 'whence generate'."
        )
    if wrong:
        raise WhenceError(f"the model's chat template fails: {_said(wrong[0])}.") from wrong[0]
    return "".join(found)


def _environment() -> _Sandbox:
    sandbox = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = strftime_now
    sandbox.filters["tojson"] = tojson
    return sandbox


def _interrupt(thread: threading.Thread) -> None:
    """End a thread that runs Python: at its next instruction the exception is raised in it."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(_OutOfTimeError)
    )


def _said(error: BaseException) -> str:
    if isinstance(error, TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"
    return str(error).strip().rstrip(".") or type(error).__name__
