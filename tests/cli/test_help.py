"""How help looks: straight boxes of the terminal's width, in our words."""

import re

import pytest

from tests.cli.command import whence
from whence.cli import VERBS


@pytest.mark.parametrize("verb", [*VERBS, "train --help all"])
def test_help_stands_in_straight_boxes(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert whence(*verb.split(), *(["--help"] if " " not in verb else [])) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line[:1] in ("│", "╭", "╰")]
    assert len({len(row) for row in rows}) <= 1
    assert all(row[-1] in "│╮╯" for row in rows)
    assert all(len(line) <= 80 for line in printed.splitlines())
    for box in "".join(f"{row}\n" for row in rows).split("╭")[1:]:
        described = re.findall(r"(?m)^│( {8,})\S", box)
        assert len(set(described)) <= 1, box  # what flags do stands in one column
    assert not re.search(r"STR|\{None\}|default: (None)?\)", printed)
