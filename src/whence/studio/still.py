"""Views as one HTML file that needs nothing else: no server, no network, no other file."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.data.files import written_whole
from whence.studio.answers import answer
from whence.studio.bundle import script, style
from whence.studio.wire import split
from whence.visible import escape, visible

PAGE = (
    "html{background:#fbfbfa}@media (prefers-color-scheme:dark){html{background:#14171a}}"
    "body{margin:0}main.whence{max-width:1180px;margin:0 auto;padding:1.8rem clamp(1rem,3vw,2rem)}"
    "main>section{margin:0 0 3.5rem}noscript table{margin:0 0 1.5rem}"
)


@dataclass
class Shown:
    """A view in a still.

    Attributes:
        view: its name.
        params: its parameters.
        plain: HTML that stands there where scripts are off.
        more: further questions that the view may ask, each with its parameters.
    """

    view: str
    params: dict[str, Any]
    plain: str = ""
    more: Sequence[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Still:
    """Views with their answers as one page.

    Args:
        folder: the folder of runs.
        shown: the views.
        title: the page's title.
        head: HTML that stands above the views.

    Raises:
        WhenceError: what an answer refuses.

    Example:
        >>> page = Still(Path("runs"), [Shown("play", {"data": "three", "step": 3})]).html
        >>> "http" in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
        False
    """

    def __init__(
        self, folder: Path, shown: Sequence[Shown], title: str = "Whence", head: str = ""
    ) -> None:
        self.folder, self.shown, self.title, self.head = folder, list(shown), title, head
        self.html = self._page()

    def _page(self) -> str:
        kept = [
            _baked(name, params, self.folder)
            for each in self.shown
            for name, params in [(each.view, each.params), *each.more]
        ]
        views = list(dict.fromkeys(each.view for each in self.shown))
        program, look = script("still.js", views), style() + PAGE
        policy = (
            f"default-src 'none'; script-src {_hash(program)}; style-src {_hash(look)}; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )
        sections = "".join(
            f'<section class="view" data-view="{escape(each.view)}" '
            f'data-params="{escape(json.dumps(dict(each.params)))}">'
            f"<noscript>{each.plain}</noscript></section>"
            for each in self.shown
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(self.title)}</title><style>{look}</style></head>"
            f'<body><main class="whence">{self.head}{sections}</main>'
            f'<script type="application/json" id="whence-answers">{_json(kept)}</script>'
            f"<script>{program}</script></body></html>\n"
        )

    def save(self, path: str | Path) -> int:
        """Write the page and return its size in bytes."""
        data = self.html.encode("utf-8")
        with written_whole(Path(path)) as file:
            file.write(data)
        return len(data)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" width="100%" '
            'height="640" style="border:0" title="Whence"></iframe>'
        )


def _baked(name: str, params: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    text, buffers = split(answer(name, params, folder))
    coded = [base64.b64encode(data).decode("ascii") for data in buffers]
    return {"name": name, "params": params, "answer": json.loads(text), "buffers": coded}


def _json(value: Any) -> str:
    """JSON that may stand inside of a script element: no `<` of it can end that."""
    text = visible(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"
