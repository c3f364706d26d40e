"""What the process that chat templates are run in does; see `whence.data.bounded`."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

LARGEST = 20_000_000  # characters that a template may write


def answered(request: Mapping[str, Any]) -> dict[str, str]:
    """Return as `text` what a template writes of its values, or as `error` what is wrong."""
    try:
        pieces, size = [], 0
        for piece in template(request["template"]).generate(request["values"]):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise TemplateError(f"it writes more than {LARGEST:,} characters")
        return {"text": "".join(pieces)}
    except TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"}


@lru_cache(maxsize=4)
def template(source: str) -> Template:
    """Compile a template, with what the transformers library offers templates."""
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = strftime_now
    sandbox.filters["tojson"] = tojson
    return sandbox.from_string(source)
