"""The README's commands and code do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REWIND = (ROOT / "docs/guide/rewind.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("Once upon a time\n" + TEXT)
    (tmp_path / "other.txt").write_text("Once upon a time the cat sat on the log.\n")
    return tmp_path


def follow(text: str, capsys) -> int:
    """Run each `whence` line, in order, with fewer steps and a smaller model; give how many."""
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("whence")]
    smaller = {
        "--step": "3",
        "--steps": "6",
        "--checkpoint": "3",
        "--skip-batch": "3",
        "--without": "cat",
    }
    for words in commands:
        if words[0] == "train":
            words += ["--steps", "4", *TINY[6:]]
        for flag, value in smaller.items():
            if flag in words and words[0] != "train":
                words[words.index(flag) + 1] = value
        assert whence(*words) == 0, (words, capsys.readouterr().err)
    return len(commands)


def test_commands(desk, capsys):
    assert follow(README, capsys) >= 10


def test_commands_of_the_guide_to_rewinding(desk, capsys):
    size = ["--model.n-layers", 1, "--model.d-model", 16, *TINY[6:]]
    assert whence("train", "my.txt", "--out", "runs/mine", "--steps", 6, *size) == 0
    assert follow(REWIND.replace("whence resume runs/mine\n", ""), capsys) >= 9


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
