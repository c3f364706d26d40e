"""What a list says of runs: as opening each says it, at once, and one bad run is one line."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.runs.tiny import abandon, finish, make
from whence.cli import main
from whence.runs import summary
from whence.runs.folder import RunFolder
from whence.runs.fork import fork
from whence.runs.run import Run
from whence.runs.store.files import SUMMARY as FILE
from whence.runs.store.records.curves import Curves
from whence.runs.summary import runs_in, spark_of, state_of_summary, summary_of
from whence.studio.answers.training.runs import runs


@pytest.fixture
def never_opened(monkeypatch):
    """From now on opening a run is an error."""

    def forbid():
        def opened(*_):
            raise AssertionError("a run was opened")

        monkeypatch.setattr(RunFolder, "open", opened)

    return forbid


def test_a_summary_says_what_opening_the_run_says(own):
    for _ in range(2):  # made, then kept
        s = summary_of(own.path)
        curves = Curves(own.path)
        assert (s.created, s.steps, s.done, s.saved) == (own.created, 20, 20, 20)
        assert s.loss == own.steps[-1]["loss"]
        assert s.best == min(e["bits_per_byte"] for e in own.evals if not e["whole"])
        assert s.measured == [e["bits_per_byte"] for e in own.evals if e["whole"]][-1]
        assert s.tokens_per_second == pytest.approx(curves.tokens_per_second)
        assert state_of_summary(own.path, s) == own.state == "finished"
        steps, losses = spark_of(s)
        assert losses.tolist() == curves["loss"][steps].astype(np.float32).tolist()


def test_a_second_look_opens_no_run(own, never_opened):
    first, listed = summary_of(own.path), runs(own.path.parent)["runs"]
    never_opened()
    assert summary_of(own.path) == first
    again = runs(own.path.parent)["runs"]
    assert [row["loss"] for row in again] == [row["loss"] for row in listed]


@pytest.mark.parametrize("name", ["run.toml", "steps.jsonl", "evals.jsonl", "samples.jsonl"])
def test_whatever_changes_is_seen_at_the_next_look(name, own):
    summary_of(own.path)
    path = own.path / name
    before = path.stat()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had been
    assert summary_of(own.path).trouble


def test_a_run_that_goes_on_is_seen(tmp_path):
    run = make(tmp_path / "run")
    assert (summary_of(run.path).done, summary_of(run.path).saved) == (0, None)
    assert state_of_summary(run.path, summary_of(run.path)) == "new"
    abandon(run, 7)
    assert summary_of(run.path).done == 7
    finish(Run.open(run.path))
    s = summary_of(run.path)
    assert (s.done, s.saved) == (20, 20)
    child = fork(Run.open(run.path), 10, tmp_path / "child")
    assert summary_of(child.path).origin == (str(run.path), 10, "fork")
    assert summary_of(run.path).bytes == run.disk_use


def test_a_summary_that_was_damaged_or_copied_is_made_anew(own, tmp_path):
    first = summary_of(own.path)
    kept = own.path / FILE
    raw = bytearray(kept.read_bytes())
    raw[len(raw) // 3] ^= 4
    kept.write_bytes(raw)
    assert replace(summary_of(own.path), bytes=first.bytes) == first
    other = make(tmp_path / "other" / "run", steps=3)
    shutil.copyfile(kept, other.path / FILE)
    assert summary_of(other.path).steps == 3


def test_a_folder_that_is_gone_is_not_made_again(own, monkeypatch):
    def removed_meanwhile(path):
        shutil.rmtree(path)
        return 0

    monkeypatch.setattr(summary, "disk_use", removed_meanwhile)
    (own.path / FILE).unlink()
    summary_of(own.path)
    assert not own.path.exists()


def test_a_folder_that_may_not_be_written_is_listed(own, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (own.path / FILE).unlink()
    monkeypatch.setattr(os, "replace", refuse)
    assert summary_of(own.path).done == 20
    assert not (own.path / FILE).exists()


HARMS = {
    "a flipped bit": lambda path: _flip(path / "steps.jsonl"),
    "a header": lambda path: _flip(path / "run.toml"),
    "a folder for a file": lambda path: _folder(path / "evals.jsonl"),
    "a folder for the record": lambda path: _folder(path / "steps.jsonl"),
    "no TOML": lambda path: (path / "run.toml").write_bytes(b"\xff"),
}


def _flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", HARMS)
def test_one_bad_run_is_one_line_of_the_list(harm, own, whole_path, capsys):
    shutil.copytree(whole_path, own.path.parent / "sound")
    HARMS[harm](own.path)
    assert main(["runs", "--folder", str(own.path.parent)]) == 0
    said = capsys.readouterr().out
    assert f"{own.path}: " in said
    assert "2 runs" in said
    assert main(["runs", "--folder", str(own.path.parent), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    states = {row["path"]: row["state"] for row in rows}
    assert states == {str(own.path): "damaged", str(own.path.parent / "sound"): "finished"}
    page = {row["name"]: row for row in runs(own.path.parent)["runs"]}
    assert page["own"]["state"] == "damaged"
    assert page["own"]["trouble"]
    assert page["sound"]["state"] == "finished"


def test_what_is_no_run_is_not_listed(own):
    (own.path.parent / ".hidden").mkdir()
    (own.path.parent / "empty").mkdir()
    assert list(runs_in(own.path.parent)) == [own.path]
