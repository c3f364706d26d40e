"""Views and their libraries as one piece of JavaScript, for notebooks and for files of their own.

No bundler is needed: an import is one line, an export begins one, and every module becomes a
function that returns what it exports.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from whence.errors import WhenceError

STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^import \{ ([^}]+) \} from "(\.[\w./]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function\*?|const|let|class) (\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"^export default ", re.MULTILINE)


def module(entry: str, views: Iterable[str]) -> str:
    """Return an ES module that shows some views by what `entry` does with them.

    Args:
        entry: `notebook.js` or `still.js`, whose default export is a function of the views.
        views: names of the views that can be shown.

    Raises:
        WhenceError: where there is no such view.

    Example:
        >>> text = module("notebook.js", ["play"])
        >>> "import " in text, text.count("export default")
        (False, 1)
    """
    body, name = _bundle(entry, tuple(views))
    return f"{body}\nexport default {name};\n"


def script(entry: str, views: Iterable[str]) -> str:
    """Return the same as a plain script that runs at once."""
    body, _ = _bundle(entry, tuple(views))
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


@lru_cache(32)
def _bundle(entry: str, views: tuple[str, ...]) -> tuple[str, str]:
    done: dict[Path, str] = {}
    parts: list[str] = []
    names = []
    for view in views:
        path = STATIC / "views" / f"{view}.js"
        if not re.fullmatch(r"\w+", view) or not path.is_file():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.js")))
            raise WhenceError(f"there is no view {view!r}: they are {known}.")
        names.append(f"{view}: {_add(path, done, parts)}.default")
    shown = _add(STATIC / entry, done, parts)
    parts.append(f"const whence = {shown}.default({{ {', '.join(names)} }});")
    return "\n".join(parts), "whence"


def _add(path: Path, done: dict[Path, str], parts: list[str]) -> str:
    """Write a module behind all that it imports, and return the name of what it exports."""
    path = path.resolve()
    if path in done:
        return done[path]
    name = done[path] = f"{path.stem}_{len(done)}"
    text = path.read_text(encoding="utf-8")

    def imported(found: re.Match[str]) -> str:
        source = _add(path.parent / found[2], done, parts)
        return f"const {{ {found[1].replace(' as ', ': ')} }} = {source};"

    text = _IMPORT.sub(imported, text)
    exports = [found[2] for found in _EXPORT.finditer(text)]
    text = _EXPORT.sub(r"\1", text)
    text, defaults = _DEFAULT.subn("const _default = ", text)
    if re.search(r"^(import|export)\b", text, re.MULTILINE):
        raise WhenceError(f"{path.name} imports or exports in a form that can't be put together.")
    given = ", ".join([*exports, *(["default: _default"] if defaults else [])])
    parts.append(f"const {name} = (() => {{\n{text}\nreturn {{ {given} }};\n}})();")
    return name


def style() -> str:
    """Return the views' own style, without that of the studio's page.

    Example:
        >>> "header" in style()
        False
    """
    text = (STATIC / "studio.css").read_text(encoding="utf-8")
    parts = re.split(r"^(?=/\* ---- )", text, flags=re.MULTILINE)
    return "".join(part for part in parts if not part.startswith("/* ---- the page ---- */"))
