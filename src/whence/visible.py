r"""What isn't text is removed from what is shown, in one place, for terminals and pages.

What comes from a file, a name or a text may hold codes that move a cursor, change a title or make
a link, and marks that turn lines around. Each is shown as `\uXXXX`, which a person sees, and which
JSON reads as the character itself. `static/lib/dom.js` does the same in the studio's pages.
"""

import html
import re

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
    r"""Return a name for use in a line: its newlines and tabs are written out too.

    Example:
        >>> one_line("a\nb")
        'a\\u000ab'
    """
    return re.sub("[\t\n\r]", lambda found: f"\\u{ord(found[0]):04x}", visible(str(text)))


def escape(text: str) -> str:
    r"""Return a text for use in HTML, between quotes too: no markup, all of it visible.

    Example:
        >>> escape("<b>\x1b")
        '&lt;b&gt;\\u001b'
    """
    return html.escape(visible(text))
