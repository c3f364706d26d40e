"""Standard output and error, for all that is printed without a console: every text visible."""

from collections.abc import Iterable
from typing import Any, TextIO

from whence.visible import visible


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
        """Pass on what was written."""
        self.rich_proxied_file.flush()

    def __getattr__(self, name: str) -> Any:
        """Everything else comes from the stream."""
        return getattr(self.rich_proxied_file, name)
