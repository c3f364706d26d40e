"""What `whence train --help` prints: the ten flags most people want, the rest a group at a time."""

import re

from whence.errors import WhenceError
from whence.fields import nearest

COMMON = (
    "--steps",
    "--batch-size",
    "--model.n-layers",
    "--model.d-model",
    "--model.context-length",
    "--optimizer.learning-rate",
    "--data.tokenizer",
    "--data.validation",
    "--seed",
    "--out",
)

WIDTH = 35  # of a flag and what it takes; what it does is beside that, or below a longer one


def shortened(whole: str, group: str) -> str:
    """Return the part of a full help text that was asked for.

    Args:
        whole: the text that lists every flag, in a box for each group.
        group: "" for the common flags, the name of a group such as `model`, or `all`.

    Raises:
        WhenceError: where there is no such group.
    """
    if group == "all":
        return whole
    head, *boxes = re.split(r"(?m)^(?=╭)", whole)
    named = {re.sub(r"[╭─╮ ]|options", "", box.splitlines()[0]): box for box in boxes}
    named["general"] = named.pop("", "")
    named.pop("positionalarguments", None)
    if group:
        if group not in named:
            raise WhenceError(f"'whence train --help {group}' is unknown{nearest(group, named)}")
        return named[group].rstrip() + "\n"
    entries = dict(entry for box in boxes for entry in _entries(box))
    lines = []
    for flag in COMMON:
        if flag in entries:
            takes, does = entries[flag]
            row = f"  {flag} {takes}".rstrip()
            lines += [row] if len(row) > WIDTH else []
            lines += [f"{row if len(row) <= WIDTH else '':<{WIDTH}}  {does}"]
    groups = ", ".join(name for name in named)
    return "\n".join(
        [
            head.rstrip(),
            "",
            "The flags most people want (--lr is short for --optimizer.learning-rate):",
            *lines,
            "",
            f"More, a group at a time: whence train --help GROUP, with one of {groups};",
            "all of them: whence train --help all",
            "",
        ]
    )


def _entries(box: str) -> list[tuple[str, tuple[str, str]]]:
    """(flag, (what it takes, what it does)) of each flag in a box."""
    found: list[tuple[str, tuple[str, str]]] = []
    for line in box.splitlines():
        text = line.strip("│╭╮╰╯─ ")
        if match := re.match(r"(--[\w.-]+)(?:, --[\w.-]+)* ?(.*)", text):
            found.append((match[1], (match[2], "")))
        elif found and line.startswith("│") and text:
            flag, (takes, does) = found[-1]
            found[-1] = (flag, (takes, f"{does} {text}".strip()))
    return found
