"""Minimal pairs: two texts that differ in one thing, of which one is English and one is not."""

from dataclasses import dataclass
from pathlib import Path

from whence.errors import WhenceError


@dataclass(frozen=True)
class MinimalPair:
    """A text, and one that differs from it and should be less likely.

    Attributes:
        better: such as "The cat".
        worse: such as "Cat the".
        kind: what the two differ in.
    """

    better: str
    worse: str
    kind: str


_WRITTEN = """\
word order|The cat sat on the mat.|Cat the sat on the mat.
word order|The dog ran to the house.|Dog the ran to the house.
word order|She saw the man in the street.|She saw man the in the street.
word order|There is a list of names in the file.|There is list a of names in the file.
word order|They are used in the same way.|They are used in same the way.
word order|It is one of the best known.|It is one the of best known.
word order|This can be done at any time.|This be can done at any time.
word order|You do not have to do this.|You not do have to do this.
agreement|The cat is here.|The cat are here.
agreement|The cats are here.|The cats is here.
agreement|He has two of them.|He have two of them.
agreement|They have two of them.|They has two of them.
agreement|These names are new.|These name are new.
agreement|This name is new.|This names is new.
agreement|The values of the list are read.|The values of the list is read.
agreement|The value of the lists is read.|The value of the lists are read.
article|It is an example of this.|It is a example of this.
article|It is a name for this.|It is an name for this.
article|This is an object.|This is a object.
article|This is a function.|This is an function.
verb form|It was written in this way.|It was write in this way.
verb form|They can be used here.|They can be use here.
verb form|It does not return.|It does not returns.
verb form|He wanted to see it.|He wanted to saw it.
verb form|It has been done.|It has being done.
preposition|It depends on the type.|It depends of the type.
preposition|It is different from the other.|It is different by the other.
preposition|The first of the two is read.|The first at the two is read.
preposition|It is equal to the other.|It is equal of the other.
pronoun|Give it to them.|Give it to they.
pronoun|She gave me the book.|She gave I the book.
pronoun|He did it himself.|He did it hisself.
spelling|They receive the message.|They recieve the message.
spelling|It happens before the end.|It happens befor the end.
spelling|There is another name.|There is anohter name.
spelling|The following values are used.|The folowing values are used.
style|Dear Sir, I am writing to you.|Dear dude, I am writing to you.
style|Hey dude, what is up?|Hey Sir, what is up?
fact|Paris is the capital of France.|Paris is the capital of Japan.
fact|The sun rises in the east.|The sun rises in the west."""

PAIRS = [
    MinimalPair(better, worse, kind)
    for kind, better, worse in (line.split("|") for line in _WRITTEN.splitlines())
]


def read_pairs(path: Path) -> list[MinimalPair]:
    r"""Read lines of `better, tab, worse`, and where wanted another tab and the kind.

    Raises:
        WhenceError: the file can't be read, or a line isn't of that form.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
        >>> _ = path.write_text("The cat\tCat the\torder\n")
        >>> read_pairs(path)
        [MinimalPair(better='The cat', worse='Cat the', kind='order')]
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WhenceError(f"{path} can't be read ({error}): give a UTF-8 file.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = line.split("\t")
        if not 2 <= len(parts) <= 3 or not all(part.strip() for part in parts[:2]):
            raise WhenceError(
                f"{path}, line {number}: write the better text, a tab, the worse one, and where "
                "wanted a tab and what they differ in."
            )
        if parts[0] == parts[1]:
            raise WhenceError(f"{path}, line {number}: the two texts are the same.")
        found.append(MinimalPair(parts[0], parts[1], parts[2] if len(parts) == 3 else "all"))
    if not found:
        raise WhenceError(
            f"{path} contains no pairs: write the better text, a tab and the worse one on each "
            "line."
        )
    return found
