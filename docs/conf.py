"""The documentation site: `make docs` builds it into build/docs, to be opened from the disk."""

import re
import shutil
import sys
from pathlib import Path

import jupytext

from whence import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from played import kept  # noqa: E402

ROOT = HERE.parent
MADE = HERE / "_made"  # pages made from files elsewhere; never committed

project, author, release = "Whence", "The Whence authors", __version__
copyright = "The Whence authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_made/README.md"]
html_theme = "furo"
html_title = f"Whence {release}"
html_show_sphinx = False
html_copy_source = False
default_role = "literal"  # single backticks in docstrings are code
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
napoleon_custom_sections = [("Shape", "notes_style"), ("Source", "notes_style")]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Docstrings are read as plain text by people first; what reStructuredText finds odd in them is
# layout (`*args`, formulas), not a broken page. Links and references stay errors.
suppress_warnings = ["docutils", "ref.python", "myst.xref_missing"]


def lesson_pages(folder: Path) -> list[str]:
    """Write each lesson as a page: as docs/played.py kept it, else its prose and its code."""
    names = []
    for script in sorted((ROOT / "lessons").glob("*.py")):
        page = kept(script)
        if page is None:
            page = jupytext.writes(jupytext.read(script), fmt="md")
            page = re.sub(r"\A---\n.*?\n---\n", "", page, flags=re.DOTALL)
        (folder / f"{script.stem}.md").write_text(page, encoding="utf-8")
        names.append(script.stem)
    return names


def contents(title: str, about: str, pages: list[str]) -> str:
    """Write a page that lists others."""
    rows = "\n".join(pages)
    return f"# {title}\n\n{about}\n\n```{{toctree}}\n:maxdepth: 1\n\n{rows}\n```\n"


def make_pages(app=None) -> None:
    """Make the pages that come from lessons, decisions and the changelog."""
    shutil.rmtree(MADE, ignore_errors=True)
    (MADE / "lessons").mkdir(parents=True)
    lessons = [f"lessons/{name}" for name in lesson_pages(MADE / "lessons")]
    about = "Each is also played in a terminal (`whence lesson 3`) or in the studio."
    (MADE / "lessons.md").write_text(contents("Lessons", about, lessons), encoding="utf-8")
    decisions = [f"../decisions/{p.stem}" for p in sorted((HERE / "decisions").glob("*.md"))]
    about = "One short page for each choice that was hard, and each experiment that failed."
    (MADE / "decisions.md").write_text(contents("Decisions", about, decisions), encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (MADE / "changelog.md").write_text(changes, encoding="utf-8")


def setup(app) -> None:
    """Make the pages before they are read."""
    app.connect("builder-inited", make_pages)
