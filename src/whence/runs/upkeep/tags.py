"""Words that a person gives to a run, to find it again: `baseline`, `for the talk`."""

import json
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.store.files import DamagedError, parse_object, read_start, write_whole

FILE = "tags.json"
MOST, LONGEST = 20, 40  # tags of a run, characters of each


def tags_of(path: Path) -> list[str]:
    """Return a run's tags; a file that holds anything else has none.

    Example:
        >>> tags_of(Path("there is no such run"))
        []
    """
    try:
        tags = parse_object(read_start(path / FILE, 1 << 16), path / FILE, "").get("tags")
    except DamagedError:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return []
    return [tag[:LONGEST] for tag in tags[:MOST]]


def set_tags(path: Path, tags: list[str]) -> list[str]:
    """Give a run these tags in place of those it had, and return them.

    Args:
        path: the run's folder.
        tags: at most 20, of 40 characters each; spaces around them are left out, and so is what
            was said before.

    Raises:
        WhenceError: there are more, one is longer, or the folder can't be written.

    Example:
        >>> import tempfile
        >>> set_tags(Path(tempfile.mkdtemp()), [" baseline", "wide", "baseline"])
        ['baseline', 'wide']
    """
    clean = list(dict.fromkeys(" ".join(tag.split()) for tag in tags))
    clean = [tag for tag in clean if tag]
    long = next((tag for tag in clean if len(tag) > LONGEST or "," in tag), None)
    if long is not None or len(clean) > MOST:
        what = f"the tag {long[:80]!r}" if long is not None else f"{len(clean)} tags"
        raise WhenceError(
            f"{what}: a run has at most {MOST} tags of {LONGEST} characters, without commas."
        )
    if not path.is_dir():
        raise WhenceError(f"there is no run at {path}: 'whence runs' lists those there are.")
    write_whole(path / FILE, json.dumps({"schema": 1, "tags": clean}) + "\n")
    return clean
