"""The console that every verb prints tables and styled lines on.

Nothing that it is given is markup: what is bold is said by `rich.text.Text`, never inside a text.
"""

from collections.abc import Iterable
from typing import IO, Any

from rich import console as rich_console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from whence.visible import visible


class Console(rich_console.Console):
    """A console that shows every text as it is: no markup, no links, no codes but its own."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    @property
    def file(self) -> IO[str]:
        """Where it writes: the underlying stream, without its wrappers."""
        found = rich_console.Console.file.__get__(self)
        while (behind := getattr(found, "rich_proxied_file", None)) is not None:
            found = behind
        return found

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        rich_console.Console.file.__set__(self, new_file)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]  # rich names each option
        """Return a text ready to be laid out, and so as wide as it is shown."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Give the pieces of text that are printed."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)
