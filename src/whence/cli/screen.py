r"""What is no text is taken out of what is printed: in one place, for every message there is.

What comes from a file, a name or a text may hold codes that move a cursor, change a title or make
a link, and marks that turn lines around. Each is shown as `\uXXXX`, which a person sees, and which
JSON reads as the character itself.
"""

import re
from collections.abc import Iterable
from typing import Any, TextIO

# Control characters but tab and newline, marks that reorder lines, halves of characters; a carriage
# return does no harm before a newline.
_HOSTILE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)


def visible(text: str) -> str:
    r"""Return a text with every character that does something to a terminal written out.

    Example:
        >>> visible("a\x1b[2J\x9b\u202e\nb")
        'a\\u001b[2J\\u009b\\u202e\nb'
    """
    return _HOSTILE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: object) -> str:
    r"""Return a name as it can stand in a line: its newlines and tabs are written out too.

    Example:
        >>> one_line("a\nb")
        'a\\u000ab'
    """
    return re.sub("[\t\n\r]", lambda found: f"\\u{ord(found[0]):04x}", visible(str(text)))


class Screen:
    r"""Standard output or error, for all that is printed without a console.

    Args:
        stream: where it goes.

    Attributes:
        rich_proxied_file: the stream; a console writes to it by itself, so that its own codes stay.

    Example:
        >>> import io
        >>> out = io.StringIO()
        >>> print("a\x1bb", file=Screen(out))
        >>> out.getvalue() == "a\\u001bb\n"
        True
    """

    def __init__(self, stream: TextIO):
        self.rich_proxied_file: TextIO = getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        """Write a text, all of it visible."""
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        self.rich_proxied_file.flush()

    def __getattr__(self, name: str) -> Any:
        """Everything else is as the stream has it."""
        return getattr(self.rich_proxied_file, name)
