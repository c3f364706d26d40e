"""The list of runs can be read in a terminal of any width."""

import io
import json

import pytest
from rich.cells import cell_len

from tests.cli.command import whence
from tests.runs.tiny import finish, make
from whence.cli.terminal import Console
from whence.cli.training.run_table import print_runs
from whence.runs.store.files import SUMMARY


def row(path: str, text: str, **more) -> dict:
    known = {"state": "finished", "model": "gpt", "done": 1000, "steps": 1000}
    known |= {"bits_per_byte": 1.5495, "disk": 43_212_345, "trouble": ""}
    return {"path": path, "text": text, **known, **more}


ROWS = [
    row("runs/topics-1", "topics"),
    row("runs/my-poems-12", "/home/somebody/texts/collected poems/1890-1920", model="seq2seq"),
    row("runs/詩-1", "詩.txt", bits_per_byte=None, state="new", done=0),
    row("runs/broken", "", state="damaged", model="", done=0, steps=0, bits_per_byte=None),
]


def printed(width: int) -> list[str]:
    file = io.StringIO()
    print_runs(ROWS, Console(file=file, width=width, force_terminal=True, color_system=None))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width):
    lines = printed(width)
    assert max(map(cell_len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    for wanted in ("runs/topics-1", "runs/my-poems-12", "runs/詩-1", "runs/broken"):
        assert wanted in whole
    assert whole.count("1.5495") == 2
    assert whole.count("43.2 MB") == 4
    assert "0 of 1,000" in whole
    assert "seq2seq" in whole
    assert "damaged" in whole


@pytest.mark.parametrize("width", [80, 120])
def test_where_it_fits_a_run_is_a_line(width):
    lines = printed(width)
    assert lines[0].split() == ["run", "state", "model", "text", "steps", "bits/byte", "disk"]
    assert len(lines) == 1 + len(ROWS)
    assert ("/home/somebody/" in lines[2]) == (width > 100)
    assert ("…" in lines[2]) == (width < 100)


def test_in_a_narrow_terminal_a_run_has_its_name_and_its_facts():
    lines = printed(40)
    assert lines[:3] == [
        "runs/topics-1",
        "  finished · gpt on topics · step 1,000",
        "  · 1.5495 bits/byte · 43.2 MB",
    ]


def test_a_pipe_gets_whole_lines():
    file = io.StringIO()
    print_runs(ROWS, Console(file=file, width=40))
    lines = file.getvalue().splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert "/home/somebody/texts/collected poems/1890-1920" in lines[2]


def test_a_damaged_run_takes_the_disk_that_its_files_do(tmp_path, capsys):
    finish(make(tmp_path / "one", steps=2))
    (tmp_path / "one" / "run.toml").write_text("not a recipe", encoding="utf-8")
    files = [p for p in (tmp_path / "one").rglob("*") if p.is_file() and p.name != SUMMARY]
    assert whence("runs", "--folder", tmp_path, "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["state"] == "damaged"
    assert run["disk"] == sum(file.stat().st_size for file in files)
