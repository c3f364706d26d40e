"""A view in a notebook: the studio's own module, and the answers from this Python."""

import json
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.studio.answers import ANSWERS, answer
from whence.studio.bundle import STATIC, module, style
from whence.studio.still import Shown, Still
from whence.studio.wire import split

try:
    import anywidget
    import traitlets
except ImportError:
    raise WhenceError(
        "A view in a notebook needs anywidget: pip install 'whence[notebook]'."
    ) from None


def _views() -> list[str]:
    return sorted(p.stem for p in (STATIC / "views").glob("*.js") if p.stem in ANSWERS)


class View(anywidget.AnyWidget):
    """A view of the studio as a notebook's widget.

    Args:
        folder: the folder of runs.
        view: its name.
        params: its parameters; they follow what is done in the view.

    Raises:
        WhenceError: for an unknown view or parameter.

    Example:
        >>> view = View(Path("runs"), "play", {"data": "three"})
        >>> view.params
        {'data': 'three'}
    """

    view = traitlets.Unicode().tag(sync=True)
    params = traitlets.Dict().tag(sync=True)
    answer = traitlets.Any(None, allow_none=True).tag(sync=True)
    go = traitlets.Any(None, allow_none=True).tag(sync=True)
    place = traitlets.Unicode("notebook").tag(sync=True)

    def __init__(self, folder: Path, view: str, params: dict[str, Any]) -> None:
        self.folder = folder
        answer(view, params, folder)  # what can't be answered is said here, not in the page
        self._esm = module("notebook.js", _views())
        self._css = style()
        super().__init__(view=view, params=params)
        self.on_msg(self._heard)

    def _heard(self, _: Any, content: Any, buffers: Any) -> None:
        """Answer a question; anything else is only possible in the studio's page."""
        told = {"id": content.get("id")} if isinstance(content, dict) else {}
        try:
            if not isinstance(content, dict) or content.get("type") != "ask":
                raise WhenceError("Only the studio's page can do that: run 'whence studio'.")
            text, found = split(
                answer(str(content.get("name")), content.get("params") or {}, self.folder)
            )
        except WhenceError as error:
            self.send({**told, "type": "error", "message": str(error)})
            return
        self.send({**told, "type": "answer", "answer": json.loads(text)}, buffers=found)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Also be HTML in the notebook's file, for where no kernel answers: nbconvert."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/html": self.still()._repr_html_()}, metadata

    def still(self) -> Still:
        """Return the view as it is now as a page of its own, to be saved or kept in a notebook."""
        return Still(self.folder, [Shown(self.view, self.params)], f"{self.view} · Whence")
