"""A page of text, tables and code, for a terminal, as Markdown and as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from whence.visible import escape

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c1c1c;background:#fff}pre{background:#f3f3f3;padding:.8rem;overflow-x:auto}"
    "code,pre{font-family:ui-monospace,monospace;font-size:14px}"
    "td,th{padding:.1rem .8rem;text-align:right}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#181818}"
    "pre{background:#262626}}"
)


class Page:
    """A page with a title; what is added goes below the rest.

    Args:
        title: its title.

    Example:
        >>> page = Page("Step 3")
        >>> page.text("`x[2]` was nan.")
        >>> print(page.markdown())
        # Step 3
        <BLANKLINE>
        `x[2]` was nan.
        <BLANKLINE>
        >>> "<code>x[2]</code>" in page.html()
        True
    """

    def __init__(self, title: str):
        self.title = title
        self._markdown = [f"# {title}", ""]
        self._html = [f"<h1>{escape(title)}</h1>"]
        self._terminal = [title]

    def heading(self, words: str) -> None:
        """Add a heading."""
        self._markdown += [f"## {words}", ""]
        self._html.append(f"<h2>{escape(words)}</h2>")
        self._terminal += ["", words]

    def text(self, words: str) -> None:
        """Add a paragraph; text in backticks is code."""
        self._markdown += [words, ""]
        self._html.append(f"<p>{_inline(words)}</p>")
        self._terminal.append(words.replace("`", ""))

    def points(self, several: Sequence[str]) -> None:
        """Add a list."""
        if several:
            self._markdown += [*(f"- {one}" for one in several), ""]
            items = "".join(f"<li>{_inline(one)}</li>" for one in several)
            self._html.append(f"<ul>{items}</ul>")
            self._terminal += [f"- {one}" for one in several]

    def code(self, lines: Sequence[str], language: str) -> None:
        """Add lines as they are."""
        self._markdown += [f"```{language}", *lines, "```", ""]
        self._html.append(f"<pre>{escape(chr(10).join(lines))}</pre>")
        self._terminal += [f"  {line}" for line in lines]

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table of figures."""
        self._markdown += [f"| {' | '.join(heads)} |", f"|{'---:|' * len(heads)}"]
        self._markdown += [*(f"| {' | '.join(row)} |" for row in rows), ""]
        head = "".join(f"<th>{escape(one)}</th>" for one in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        self._html.append(f"<table><tr>{head}</tr>{body}</table>")
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        self._terminal += [
            "  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
            for row in (heads, *rows)
        ]

    def markdown(self) -> str:
        """Return the page as Markdown."""
        return "\n".join(self._markdown)

    def html(self) -> str:
        """Return the page as a document that needs no other file."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head>"
            f"<body>{''.join(self._html)}</body></html>\n"
        )

    def terminal(self) -> list[str]:
        """Return the page line by line."""
        return self._terminal


def _inline(words: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(words))
