"""Lines with labels: built-in ones, those of a file, or mail in folders."""

import itertools
import random
import re
from pathlib import Path

from whence.errors import WhenceError
from whence.play.texts.mail import read_folder
from whence.play.texts.messages import MESSAGES
from whence.play.texts.words import Labelled, read_labelled


def labelled(what: str) -> list[Labelled]:
    """Return the labelled lines that a name or a path stands for.

    Args:
        what: `spam`, `code` or `chapters`; a file with lines of label, tab, text; or a folder of
            mail with a subfolder or a mailbox for each class.

    Raises:
        WhenceError: there is no such file, or nothing can be learnt from it.

    Example:
        >>> sorted({line.label for line in labelled("spam")})
        ['ham', 'spam']
    """
    if what == "spam":
        return MESSAGES
    if what == "chapters":
        return _chapters()
    if what == "code":
        return _code()
    if not Path(what).exists():
        raise WhenceError(
            f"{what!r} isn't a file or folder; give one, or one of spam, code, chapters and images."
        )
    return read_folder(what) if Path(what).is_dir() else read_labelled(what)


def _chapters() -> list[Labelled]:
    """Sentences of the language reference that is part of every Python, by their chapter."""
    from pydoc_data.topics import topics

    names = ("formatstrings", "import", "naming", "specialnames", "try")
    return [
        Labelled(name, sentence)
        for name in names
        if name in topics
        for sentence in re.split(r"(?<=\.)\s+", " ".join(topics[name].split()))
        if 30 < len(sentence) < 300
    ]


def _code() -> list[Labelled]:
    """Examples and prose of that reference, as many of the one as of the other."""
    from pydoc_data.topics import topics

    found = []
    for _, text in sorted(topics.items()):
        paragraphs = [p for p in text.split("\n\n") if p.strip()]
        for before, block in itertools.pairwise(paragraphs):
            # The reference indents its examples, after a paragraph that ends with a colon.
            if before.rstrip().endswith(":") and block.startswith("   "):
                label = "code"
            elif not block.startswith(" ") and len(block) > 60:
                label = "prose"
            else:
                continue
            found.append(Labelled(label, " ".join(block.split())[:200]))
    code = [line for line in found if line.label == "code"]
    prose = random.Random(0).sample([x for x in found if x.label == "prose"], k=len(code))
    return code + prose
