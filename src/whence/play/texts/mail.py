"""Labelled text out of a folder of mail: a subfolder or a mailbox for each class.

mail/ham/…  mail/spam/…          files of one message each (.eml, a maildir), or of plain text
mail/ham.mbox  mail/spam.mbox    mailboxes, as mail programs export them
"""

import email
import email.policy
import mailbox
import random
import re
from collections.abc import Iterable, Iterator
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

from whence.errors import WhenceError
from whence.play.texts.words import Labelled, check_labelled

LONGEST = 4000  # characters of a message that are read: what follows is mostly what it answers
LARGEST = 10 << 20  # bytes of a file that holds one message
HEADER = re.compile(  # what a message may begin with; "Urgent: call now" is no header
    rb"(from|to|cc|subject|date|received|sender|reply-to|return-path|delivered-to|message-id"
    rb"|envelope-to|mime-version|content-type|x-[!-9;-~]+):",
    re.IGNORECASE,
)


def read_folder(folder: str | Path, most: int = 2000, seed: int = 0) -> list[Labelled]:
    """Read a folder whose subfolders or mailboxes are classes, such as `ham` and `spam`.

    A subfolder's name, or a mailbox's without its ending, is the label of all messages in it.

    Args:
        folder: the folder.
        most: at most so many messages; where there are more, they are drawn.
        seed: of that draw.

    Raises:
        WhenceError: if there are not two classes, or nothing can be read.

    Example:
        >>> read_folder("nowhere")
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: nowhere isn't a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WhenceError(f"{folder} isn't a folder.")
    found = []
    for part in sorted(folder.iterdir()):
        if part.name.startswith("."):
            continue
        label = part.name if part.is_dir() else part.stem
        files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
        texts = (text for path in files if not path.name.startswith(".") for text in _texts(path))
        found += [Labelled(label, text) for text in texts if text]
    check_labelled(found, f"{folder} (a subfolder or a mailbox for each class)")
    return random.Random(seed).sample(found, k=most) if len(found) > most else found


def _texts(path: Path) -> Iterator[str]:
    """The messages of a file: a mailbox, one message, or a text without headers."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST)
    except OSError as error:
        raise WhenceError(f"{path} cannot be read: {error.strerror or error}.") from None
    if raw.startswith(b"From "):
        box = mailbox.mbox(path, factory=None, create=False)
        try:
            yield from (text_of(box.get_bytes(key)) for key in box.iterkeys())
        finally:
            box.close()
    elif HEADER.match(raw):
        yield text_of(raw)
    elif b"\0" not in raw:
        yield _tidied(raw.decode("utf-8", errors="replace"))


def text_of(raw: bytes) -> str:
    r"""Return a message's subject and its text: the plain part, else the HTML one without its tags.

    Whatever is wrong with a message, some text comes back: spam is seldom well-formed.

    Example:
        >>> text_of(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nSee you at 6\n")
        'Grüße See you at 6'
    """
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    try:
        subject = str(message.get("subject", ""))
    except Exception:  # the parser of headers raises all sorts of things on a crooked one
        subject = ""
    return _tidied(f"{subject} {' '.join(_parts(message))}")


def _parts(message: EmailMessage) -> Iterable[str]:
    found: dict[str, list[str]] = {"plain": [], "html": []}
    for part in message.walk():
        kind = part.get_content_subtype()
        if part.get_content_maintype() != "text" or kind not in found:
            continue
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        try:
            text = payload.decode(part.get_content_charset("utf-8"), errors="replace")
        except (LookupError, ValueError):  # no such encoding
            text = payload.decode("latin-1")
        found[kind].append(text if kind == "plain" else _without_tags(text))
    return found["plain"] if any(map(str.strip, found["plain"])) else found["html"]


class _Text(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.seen.append(data)


def _without_tags(text: str) -> str:
    parser = _Text()
    try:
        parser.feed(text)
        parser.close()
    except (AssertionError, ValueError):  # declarations that no browser would read either
        return re.sub(r"<[^>]*>", " ", text)
    return " ".join(parser.seen)


def _tidied(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
