"""Whatever stands in names, texts and files, a terminal is shown text: no codes or markup."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.command import TINY, whence
from whence.cli import terminal
from whence.cli.screen import Screen
from whence.cli.terminal import Console
from whence.errors import shell_word
from whence.runs.run import Run
from whence.visible import one_line, visible

NAME = "b] x[bold]y \x1b]0;owned\x07\x9b31m\u202e"  # in a folder "runs[": the path holds [/b]
LINE = "the [/b] cat [link=http://evil.example]sat[/link] \x1b[2J\x9b2J on [red] :bug: mats.\n"
# What a terminal acts on: all but newline, tab, and the codes that the console itself may print.
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[12]?[AKG]|\r")
CODES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="such names can't be had there")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose name and text are full of it."""
    folder = tmp_path_factory.mktemp("hostile")
    text = folder / "a[" / "b] \x1b]0;t\x07.txt"
    text.parent.mkdir()
    text.write_text(LINE * 40, encoding="utf-8")
    path = folder / "runs[" / NAME
    given = [*TINY, "--steps", 8, "--record.evaluate-every", 4, "--record.sample-every", 2]
    assert whence("train", text, "--out", path, *given) == 0
    return path


def verbs(path):
    """Commands that print a name, a text, or something of a file."""
    other = path.parent / "other[bold]"
    yield 0, ["runs", "--folder", path.parent]
    yield 0, ["generate", path, "the [/b]", "--max-tokens", 20, "--seed", 1]
    yield 0, ["generate", path, "the [/b]", "--max-tokens", 5, "--show-probabilities"]
    yield 0, ["rewind", path, "--step", 3, "--prompt", "the [/b]"]
    yield 0, ["rewind", path, "--step", 3, "--approximate", "--prompt", "cat"]
    yield 0, ["evaluate", path]
    yield 0, ["growth", path, "the [/b] cat"]
    yield 0, ["verify", path]
    yield 0, ["compare", path, path]
    yield 0, ["why", path, "loss"]
    yield 0, ["why", path, "head.weight[3,7].grad", "--by", "token"]
    yield 0, ["why", path, "logits", "--list"]
    yield 0, ["biography", path, "blocks.0.mlp.up.weight[0,0]"]
    yield 2, ["report", path, "--html", path.parent / "[bold]\x1b.html"]  # no name for a page
    yield 0, ["fork", path, "--step", 4, "--out", other]
    yield 0, ["sentence", "we [/b] love [bold] \x9b2J maths", "--steps", 3]
    yield 2, ["evaluate", path, "[/b]\x1b]0;t\x07\x9b"]
    yield 2, ["generate", path, "\x1b\x07 never seen \x9c"]
    yield 2, ["runs", "\x1b]0;t\x07[/b]"]
    yield 2, ["\x1b[2J"]
    yield 2, ["train", "\x9b[/b]"]
    yield 2, ["resume", path.parent / "\x1b[/b]"]


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "terminal"])
def test_every_verb_prints_text(hostile, terminal, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    for code, words in verbs(hostile):
        if words[0] == "fork" and terminal:
            continue
        capsys.readouterr()
        assert whence(*words) == code, words
        told = "".join(capsys.readouterr())
        assert told
        left = OWN.sub("", told) if terminal else told
        assert not CODES.search(left), (words, CODES.findall(left), left[:1000])
        assert "\x1b]8" not in told  # a link
        assert "🐛" not in told


def test_names_are_shown_as_they_are(hostile, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert whence("runs", "--folder", hostile.parent) == 0
    assert "[/b] x[bold]y \\u001b]0;owned\\u0007\\u009b31m\\u202e" in capsys.readouterr().out


def test_the_suggested_command_is_the_name(hostile, capsys, monkeypatch):
    """What `whence train` says to do next can be pasted into a shell, and finds the run."""
    path = hostile.parent / "y[bold]z \x1b\x9b'"
    text = next(hostile.parent.parent.glob("a*/*.txt"))
    assert whence("train", text, "--out", path, *TINY, "--steps", 2) == 0
    told = capsys.readouterr().out
    [line] = [line for line in told.splitlines() if "whence resume" in line]
    words = line.strip().removeprefix("whence resume ").partition(" --steps")[0]
    assert _read_by_a_shell(words) == os.fsencode(path)
    assert Run.open(path).name == "y[bold]z \x1b\x9b'"


def _read_by_a_shell(word: str) -> bytes:
    return subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True).stdout


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@settings(max_examples=50, deadline=None)
def test_a_shell_reads_a_word_back(text):
    word = shell_word(text)
    assert word.isprintable()
    assert _read_by_a_shell(word) == text.encode()


def test_a_shell_reads_back_a_name_that_is_no_text():
    name = os.fsdecode(b"a\xff'\x1b")
    assert _read_by_a_shell(shell_word(name)) == os.fsencode(name)


def test_json_holds_the_text_itself(hostile, capsys):
    """What is escaped for the eye reads as what it is."""
    assert whence("generate", hostile, "cat \x1b[2J\x9b2J", "--max-tokens", 3, "--json") == 0
    told = capsys.readouterr().out
    assert not CODES.search(told)
    assert json.loads(told)["prompt"] == "cat \x1b[2J\x9b2J"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_a_terminal_acts_on_is_left(text):
    told = visible(text)
    assert not CODES.search(told.replace("\r\n", "\n"))
    assert "\n" not in one_line(text)
    assert visible(told) == told
    kept = "".join(c for c in text if c.isprintable() and not CODES.match(c))
    assert set(kept) <= set(told)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\t\r"), max_size=30))
def test_a_console_prints_what_it_is_given(text):
    """Seen by a terminal emulator of the simplest kind: the text comes out as it went in."""
    out = io.StringIO()
    Console(file=out, soft_wrap=True, force_terminal=True, color_system=None).print(text, end="")
    assert out.getvalue() == visible(text)


def test_there_is_one_console():
    """Every verb's is the one that shows text as text."""
    folder = Path(terminal.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "terminal.py":
            assert "rich.console" not in text, path.name
        assert "rich.markup" not in text, path.name
        assert "markup=True" not in text, path.name


def test_screen_is_the_stream_in_all_else():
    assert Screen(sys.stdout).isatty() == sys.stdout.isatty()
    assert Screen(Screen(sys.stdout)).rich_proxied_file is Screen(sys.stdout).rich_proxied_file
