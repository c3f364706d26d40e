"""One bad run never takes down a list: in a terminal, from Python and in the page."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.command import whence
from tests.runs.tiny import finish, make
from whence.runs.store.header import _first_line
from whence.runs.store.records.lines import encode_line
from whence.runs.summary import summary_of
from whence.runs.upkeep.listing import list_runs
from whence.studio.answers import answer

FILES = (
    "run.toml", "steps.jsonl", "evals.jsonl", "samples.jsonl", "tokens.json", "tokens.bin",
    "tokenizer.json", "checkpoints", ".lock", "control.json", "trouble.json", ".summary.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("one") / "whole"
    finish(make(path, steps=5))
    return path


@pytest.fixture
def folder(one, tmp_path) -> Path:
    """Two runs: `whole` and `bad`, which the test damages."""
    made = tmp_path / "runs"
    for name in ("whole", "bad"):
        shutil.copytree(one, made / name)
    return made


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def reworded(path: Path, old: str, new: str) -> None:
    """Change a run.toml and its checksum with it."""
    body = path.read_text(encoding="utf-8").partition("\n")[2]
    assert old in body
    body = body.replace(old, new, 1)
    path.write_text(_first_line(body) + body, encoding="utf-8")


def relined(path: Path, **changes) -> None:
    """Change the second line of a record and its checksum with it."""
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[1])
    del record["crc"]
    lines[1] = encode_line({**record, **changes})
    path.write_bytes(b"".join(lines))


def in_place_of(path: Path, name: str) -> None:
    """Put a folder where a file is, and a file where a folder is."""
    place = path / name
    if place.is_dir():
        shutil.rmtree(place)
        place.write_bytes(b"no folder")
    else:
        place.unlink(missing_ok=True)
        place.mkdir()


DAMAGE = {
    "a bit of the record": lambda bad: flip(bad / "steps.jsonl"),
    "a bit of the measurements": lambda bad: flip(bad / "evals.jsonl"),
    "a bit of run.toml": lambda bad: flip(bad / "run.toml"),
    "no run.toml": lambda bad: (bad / "run.toml").unlink(),
    "an empty run.toml": lambda bad: (bad / "run.toml").write_bytes(b""),
    "run.toml not text": lambda bad: (bad / "run.toml").write_bytes(b"\xff\x1b]0;t\x07\n" * 99),
    "a huge setting": lambda bad: reworded(
        bad / "run.toml", "final = 0.0", f"final = 1{'0' * 400}"
    ),
    "a setting of thousands of digits": lambda bad: reworded(
        bad / "run.toml", "steps = 5", f"steps = 1{'0' * 5000}"
    ),
    "a date": lambda bad: reworded(bad / "run.toml", "steps = 5", "steps = 1979-05-27"),
    "a deep table": lambda bad: reworded(
        bad / "run.toml", "steps = 5", f"steps = {'[' * 5000}{']' * 5000}"
    ),
    "a huge loss": lambda bad: relined(bad / "steps.jsonl", loss=10**400),
    "a huge count": lambda bad: relined(bad / "steps.jsonl", tokens=10**400),
    "a huge step": lambda bad: relined(bad / "evals.jsonl", step=10**400),
    "a huge measurement": lambda bad: relined(bad / "evals.jsonl", bits_per_byte=10**400),
    "a loss that is a text": lambda bad: relined(bad / "steps.jsonl", loss="low"),
    "a link": lambda bad: (bad / "link").symlink_to("/etc/passwd"),
    **{f"a folder for {name}": lambda bad, name=name: in_place_of(bad, name) for name in FILES},
}
HARMLESS = {"a folder for tokens.json", "a folder for tokens.bin", "a folder for tokenizer.json"}
# Nothing of these is needed for a line of the list, so they may stand in it as sound.
HARMLESS |= {f"a folder for {name}" for name in (".lock", "control.json", "trouble.json")}
HARMLESS |= {"a folder for .summary.json"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_others_are_listed_and_the_bad_one_has_a_line(folder, damage, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    DAMAGE[damage](folder / "bad")
    assert whence("runs", "--folder", folder) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert [line for line in lines if line.startswith(str(folder / "whole"))]
    of_bad = [line for line in lines if line.startswith(f"{folder / 'bad'}: ")]
    assert len(of_bad) == 1 or (damage in HARMLESS and not of_bad)
    assert all(len(line) < 600 for line in of_bad)
    assert "\x1b" not in told.out

    assert whence("runs", "--folder", folder, "--json") == 0
    listed = {Path(r["path"]).name: r for r in json.loads(capsys.readouterr().out)["runs"]}
    assert listed.keys() == {"whole", "bad"}
    assert listed["whole"]["state"] == "finished"
    assert damage in HARMLESS or listed["bad"]["trouble"]

    rows = {row["name"]: row for row in answer("runs", {}, folder)["runs"]}
    assert rows.keys() == {"whole", "bad"}
    assert rows["whole"]["done"] == 5
    assert damage in HARMLESS or rows["bad"]["state"] == "damaged"
    assert damage in HARMLESS or rows["bad"]["trouble"]

    assert "whole" in [run.name for run in list_runs(folder)]


def test_whatever_breaks_is_one_line(folder, monkeypatch):
    """Also what nobody thought of."""

    def broken(path):
        raise ZeroDivisionError("first\nsecond")

    (folder / "bad" / ".summary.json").unlink()  # it was summed up when its training ended
    monkeypatch.setattr("whence.runs.store.records.curves.Curves", broken)
    told = summary_of(folder / "bad").trouble
    assert told == f"{folder / 'bad'} can't be read (ZeroDivisionError: first second)."


@pytest.mark.parametrize(
    "lie",
    [
        *({"created": 5}, {"steps": "x"}, {"bytes": 10**400}, {"spark": [[1e400, 1]]}),
        *({"model": []}, {"spark": [[10**40, 1.0]]}, {"origin": [1, "x"]}, {"loss": "low"}),
        {"trouble": ["no"]},
    ],
)
def test_a_summary_that_lies(folder, lie, capsys):
    """What is kept of a run in its folder is looked at like everything else in it."""
    assert whence("runs", "--folder", folder) == 0
    told = capsys.readouterr().out.splitlines()[:-1]  # the last line counts bytes, also of this
    path = folder / "bad" / ".summary.json"
    record = json.loads(path.read_bytes())
    del record["crc"]
    path.write_bytes(encode_line({**record, **lie}))
    assert whence("runs", "--folder", folder) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == told
    assert len(answer("runs", {}, folder)["runs"]) == 2


@pytest.mark.skipif(os.name == "nt", reason="such names can't be had there")
def test_a_name_of_two_lines_is_one(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    os.rename(folder / "bad", folder / "a\nwhole  finished")
    assert whence("runs", "--folder", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("finished" in line for line in lines) == 2
    assert "a\\u000awhole" in "".join(lines)
