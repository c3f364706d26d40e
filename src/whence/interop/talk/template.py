"""Chat templates: small programs in Jinja2 that others wrote, run where they can do no harm.

The sandbox of Jinja2 keeps them from Python's own attributes; a process of their own keeps a loop
without end, or a text doubled forty times, from taking ours along.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.data.bounded import BoundedProcess
from whence.errors import WhenceError

SECONDS = 5.0  # of computing that a template may take
MEMORY = 1 << 30  # bytes that the process may take
Message = Mapping[str, Any]


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
        add_generation_prompt: end with what comes before an answer.

    Raises:
        WhenceError: where the template isn't a template, refuses the messages, or takes too long.

    Example:
        >>> render("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
        ...        [{"role": "user", "content": "hi"}])
        'user: hi'
    """
    values = {
        "messages": [dict(m) for m in messages],
        "add_generation_prompt": add_generation_prompt,
        "tools": None,
        "documents": None,
        **(special_tokens or {}),
    }
    answer = _PROCESS.ask({"template": template, "values": values}, SECONDS)
    if answer is None:
        raise WhenceError(
            f"the model's chat template was ended after {SECONDS:g} seconds of computing: it may "
            "be endless; write the prompt by hand with 'whence generate'."
        )
    if "error" in answer:
        raise WhenceError(f"the model's chat template fails: {answer['error']}.")
    return answer["text"]


_PROCESS = BoundedProcess(Path(__file__).with_name("template_script.py"), MEMORY)
