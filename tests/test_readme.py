"""The README's commands and code do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("Once upon a time\n" + TEXT)
    (tmp_path / "other.txt").write_text("Once upon a time the cat sat on the log.\n")
    return tmp_path


def test_commands(desk, capsys):
    """Each `whence` line, in order, with fewer steps and a smaller model."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("whence")]
    assert len(commands) >= 5
    for words in commands:
        if words[0] == "train":
            words += ["--steps", "4", *TINY[6:]]
        if words[0] == "resume":
            words[words.index("--steps") + 1] = "6"
        assert whence(*words) == 0, (words, capsys.readouterr().err)


def test_python(desk):
    for code in blocks("python"):
        exec(code.replace("steps=200", "steps=3"), {})


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for path in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / path).exists(), path
