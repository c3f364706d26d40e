"""Plays every lesson and keeps its page, with pictures and numbers, in build/lessons.

`make docs` does it. Playing all takes about two minutes, so the site's own build only reads what is
kept here. A page's first line has its script's digest: a script that has changed is played again.
"""

import hashlib
import sys
from pathlib import Path

from whence.lessons import Play, lessons
from whence.lessons.talk import bold_words

KEPT = Path(__file__).parents[1] / "build" / "lessons"


def mark(script: Path) -> str:
    """The first line of a page: which script it was played from."""
    return f"% {hashlib.sha256(script.read_bytes()).hexdigest()}"


def page(play: Play) -> str:
    """A lesson that has been played, as Markdown: what it says, its code, its pictures."""
    parts = [mark(play.lesson.path)]
    for cell in play.lesson.cells:
        output = play.outputs[cell.index]
        if cell.shows_code:
            parts.append(f"```python\n{cell.source}\n```")
        if output.svg:
            parts.append(f"```{{raw}} html\n<figure>{output.svg}</figure>\n```")
        if output.markdown:
            parts.append(bold_words(output.markdown))
    return "\n\n".join(parts) + "\n"


def kept(script: Path) -> str | None:
    """The page that was kept of this script as it stands, if there is one."""
    path = KEPT / f"{script.stem}.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text if text.startswith(mark(script)) else None


def main() -> None:
    """Play the lessons that have no page yet."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for found in lessons():
        if kept(found.path) is None:
            print(f"playing lesson {found.n}, {found.title}", file=sys.stderr)
            play = Play(found)
            play.all()
            (KEPT / f"{found.path.stem}.md").write_text(page(play), encoding="utf-8")


if __name__ == "__main__":
    main()
