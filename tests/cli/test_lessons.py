"""Lessons in the terminal: straight through, and with a learner at the keyboard."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.command import whence

ROOT = Path(__file__).parents[2]


def test_list(capsys):
    assert whence("journey", "--list") == 0
    printed = capsys.readouterr().out
    assert "0  What learning is" in printed
    assert "1  A line" in printed


def test_straight_through(capsys):
    assert whence("lesson", "0", "--yes") == 0
    printed = capsys.readouterr().out
    for words in ("The slope at this setting of the dial is −27", "It is a) up", "▂▁", "Not yet"):
        assert words in printed
    assert "](#" not in printed
    assert "say(" not in printed


def test_json(capsys):
    assert whence("lesson", "what learning is", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["cell"] for line in lines] == list(range(len(lines)))
    assert {"prose", "question", "code", "answer", "picture", "exercise"} == {
        line["kind"] for line in lines
    }
    assert any(line["numbers"].get("slope") == -27 for line in lines)


@pytest.fixture
def learner(monkeypatch):
    """A learner at a terminal who types these words, one at each question."""

    def typing(*words):
        left = list(words)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr(Console, "input", lambda *_, **__: left.pop(0) if left else "")
        return left

    return typing


def test_a_learner_predicts_and_tries_again(learner, capsys):
    left = learner("x", "b", "", "", "", "0,01", "fast", "0.05")
    assert whence("lesson", "0") == 0
    printed = capsys.readouterr().out
    assert "'x' isn't an answer" in printed
    assert "You predicted b)" in printed
    assert "You crawl" in printed
    assert "'fast' isn't a number" in printed
    assert "After 5 steps the error is 2.025·10⁻⁹" in printed
    assert left == []


def test_a_learner_stops(learner, capsys):
    learner("q")
    assert whence("journey", "--from", "1") == 0
    assert "whence journey --from 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lesson", "99"), "no lesson '99'"),
        (("lesson", "a lime"), "did you mean 1, 'A line'"),
        (("journey", "--from", "-1"), "no lesson -1"),
    ],
)
def test_what_is_no_lesson(words, told, capsys):
    assert whence(*words) == 2
    assert told in capsys.readouterr().err


def test_notebooks(tmp_path):
    jupytext = pytest.importorskip("jupytext")
    nbformat = pytest.importorskip("nbformat")
    for path in sorted((ROOT / "lessons").glob("*.py")):
        script = jupytext.read(path, fmt="py:percent")
        target = tmp_path / f"{path.stem}.ipynb"
        jupytext.write(script, target)
        notebook = nbformat.read(target, as_version=4)
        nbformat.validate(notebook)
        back = jupytext.reads(jupytext.writes(notebook, fmt="py:percent"), fmt="py:percent")
        assert [cell.source for cell in back.cells] == [cell.source for cell in script.cells]


def test_as_a_plain_script():
    script = ROOT / "lessons" / "00_what_learning_is.py"
    environment = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
    subprocess.run([sys.executable, str(script)], check=True, env=environment)
