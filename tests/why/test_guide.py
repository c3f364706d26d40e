"""The guide's code runs as it is printed."""

import re
from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence
from tests.test_readme import follow

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "why.md"


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder with the run that the guide names."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "my.txt").write_text(TEXT, encoding="utf-8")
    assert whence("train", desk / "my.txt", "--out", desk / "runs/mine", "--steps", 6, *TINY) == 0
    return desk


def test_the_commands_of_the_guide_run(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    assert follow(GUIDE.read_text(encoding="utf-8"), capsys) >= 10


def test_the_guide_runs(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(code), {})
    printed = capsys.readouterr().out
    for words in ("'we' at position 1", "gradient", "off by", "0 wrong", "Window("):
        assert words in printed
