"""The files underneath: lines, whole folders, spacing, the background saver."""

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch

from tests.runs.tiny import RECIPE, finish, make
from whence.data import text_source
from whence.errors import WhenceError
from whence.runs.questions.export import export_metrics
from whence.runs.recipe import Data, Record
from whence.runs.run import Run
from whence.runs.store.checkpoints import load_weights, save_checkpoint, saved_steps
from whence.runs.store.files import read_json, remove_leftovers, write_folder_whole
from whence.runs.store.past import Past, past_of
from whence.runs.store.records.lines import Lines
from whence.runs.store.retention import Spacing, is_due, surplus
from whence.runs.training import saver as saver_module
from whence.runs.training.saver import Saver
from whence.runs.upkeep.listing import list_runs


def test_lines_survive_a_tear_at_every_byte(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = Lines(path, {"step": int})
    for step in range(4):
        lines.append({"step": step, "text": "ünï\n"})
    lines.close()
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        torn = Lines(path, {"step": int})
        assert len(list(torn)) == max(0, complete - 1)
        torn.append({"step": 99})
        torn.close()
        assert [r["step"] for r in torn] == [*range(max(0, complete - 1)), 99]


def test_every_flipped_bit_in_a_line_is_found(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = Lines(path, {"step": int})
    lines.append({"step": 7})
    lines.append({"step": 8})
    lines.close()
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for at in range(second, whole.index(b"\n", second)):
        for bit in range(8):
            raw = bytearray(whole)
            raw[at] ^= 1 << bit
            path.write_bytes(bytes(raw))
            with pytest.raises(WhenceError, match="damaged"):
                list(lines)


def test_a_folder_is_whole_or_not_there(tmp_path):
    def fill(folder):
        (folder / "a").write_text("a")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WhenceError, match=r"can't be written \(No space left on device\)"):
        write_folder_whole(tmp_path / "000005", fill)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_kill_go_and_nothing_else(tmp_path):
    for name in (".000010.part", ".000005.gone", "000005", ".git"):
        (tmp_path / name).mkdir()
    mine, dead = f"control.json.{os.getpid()}-1.tmp", f"control.json.{2**22 + 1}-1.tmp"
    for name in ("run.toml.1234-5.tmp", mine, dead, "notes.tmp", "steps.jsonl"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"000005", ".git", "notes.tmp", "steps.jsonl", mine}


def test_json_errors(tmp_path):
    path = tmp_path / "state.json"
    for text, said in [
        ("{", "not JSON"),
        ("[1]", "isn't a JSON object"),
        ("{}", "no schema number"),
        ('{"schema": true}', "no schema number"),
        ("[" * 100_000, "not JSON"),
        ('{"a": "' + "x" * (9 << 20) + '"}', "larger than"),
    ]:
        path.write_text(text)
        with pytest.raises(WhenceError, match=said):
            read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WhenceError, match="not UTF-8"):
        read_json(path)


def test_saved_steps_are_ours_only(tmp_path):
    for name in ("000005", "1234567", "5", "٠٠٠٠٠٧", "000005x", "0000005"):
        (tmp_path / name).mkdir()
    assert saved_steps(tmp_path) == [5, 1234567]


def test_spacing_is_the_longer_of_steps_and_seconds():
    spacing = Spacing(Record(replay_steps=10, replay_seconds=1.0))
    for step in range(100):
        spacing.took(step, 0.01 if step < 50 else 1.0)
    assert spacing.allows(0, 50)
    assert not spacing.allows(0, 52)
    assert spacing.allows(60, 70)
    assert not spacing.allows(60, 71)
    assert is_due(99, 98, spacing) is False
    assert is_due(80, 69, spacing)


@pytest.mark.parametrize("keep", ["all", "logarithmic"])
def test_the_bound_holds_for_every_step(keep):
    """Saving when due and letting go what is surplus, step by step, as training does."""
    spacing = Spacing(Record(replay_steps=7, replay_seconds=0, keep=keep))
    saved, best = [], 0
    for state in range(1, 400):
        spacing.took(state - 1, 0.1)
        if is_due(state, max(saved, default=0), spacing) or state % 13 == 0:
            if state % 13 == 0:
                best = state
            saved.append(state)
            gone = surplus(saved, {best}, spacing)
            saved = [s for s in saved if s not in gone]
        assert best in saved or not best
        for step in range(state):
            way = step - max((s for s in saved if s <= step), default=0)
            assert way <= (7 if keep == "all" else max(7, state - step + 7))
    if keep == "logarithmic":
        assert len(saved) < 20


def test_last_keeps_k_and_the_precious():
    spacing = Spacing(Record(keep="last", keep_last=2))
    assert surplus([5, 10, 15, 20], {5}, spacing) == [10]


def test_the_saver_copies_at_once_and_writes_behind(tmp_path, monkeypatch):
    gate = threading.Event()
    real = save_checkpoint

    def slow(*arguments):
        gate.wait(10)
        return real(*arguments)

    monkeypatch.setattr(saver_module, "save_checkpoint", slow)
    order = []
    saver = Saver(tmp_path, lambda: order.append("before"), order.append)
    weight = torch.zeros(3)
    assert saver.save(5, {"w": weight, "tied": weight}, {}) == []
    weight += 1  # the step goes on
    assert saver.finished() == []
    assert saved_steps(tmp_path) == []
    gate.set()
    assert saver.wait() == [5]
    assert order == ["before", 5]
    saved = load_weights(tmp_path, 5)
    assert torch.equal(saved["w"], torch.zeros(3))
    assert saved["tied"] is saved["w"]
    assert saver.save(5, {"w": weight}, {}) == []  # it is there already
    assert saver.wait() == []
    saver.close()


def test_what_fails_in_the_background_is_raised(tmp_path, monkeypatch):
    def full(*_):
        raise WhenceError("the disk is full")

    monkeypatch.setattr(saver_module, "save_checkpoint", full)
    run = make(tmp_path / "run")
    with pytest.raises(WhenceError, match="the disk is full"):
        finish(run)
    assert Run.open(run.path).state == "stopped"
    monkeypatch.undo()
    finish(run)
    assert Run.open(run.path).state == "finished"


def test_a_disk_without_room_for_a_checkpoint(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 99, 99))
    with pytest.raises(WhenceError, match=r"kB of disk and 99 bytes are free in .*: make room"):
        finish(make(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 10**12}, "GB of memory"),
        ({"seed": -1}, "seed is -1"),
        ({"accumulate": 3}, "multiple of accumulate"),
    ],
)
def test_recipes_that_cannot_be(tmp_path, changes, said):
    with pytest.raises(WhenceError, match=said):
        make(tmp_path / "run", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "validation", "said"),
    [("abc" * 4, 0.1, "too short"), ("abcdefgh" * 2 + "xyz", 0.05, "for validation")],
)
def test_text_too_short_to_train_or_to_measure(tmp_path, text, validation, said):
    recipe = replace(RECIPE, data=Data(validation=validation))
    with pytest.raises(WhenceError, match=said):
        Run.create(recipe, tmp_path / "run", text_source("t", lambda: [text]))
    assert list(tmp_path.iterdir()) == []


def test_existing_folders_and_missing_ones(own, tmp_path):
    with pytest.raises(WhenceError, match="already exists: continue it with 'whence resume"):
        make(own.path)
    with pytest.raises(WhenceError, match="there is no run at"):
        Run.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WhenceError, match=r"is not a run: it has no run.toml"):
        Run.open(tmp_path / "empty")


def test_an_edited_recipe_is_noticed(own):
    path = own.path / "run.toml"
    path.write_text(path.read_text().replace("seed = 0", "seed = 1"))
    with pytest.raises(WhenceError, match=r"its checksum doesn't fit.*whence fork"):
        Run.open(own.path)


def test_lists_and_removal(own, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.toml").write_text("nonsense")
    assert [run.name for run in list_runs(tmp_path)] == ["own"]
    assert own.disk_use > 10_000
    own.remove()
    assert list_runs(tmp_path) == []


def test_the_record_is_json_that_others_read(whole):
    lines = (whole.path / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["schema"] == 1
    assert json.loads(lines[1])["loss"] == whole.steps[0]["loss"]


def test_what_a_killed_export_left_goes_with_the_next_one(own):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = own.path / f"metrics.csv.{ended.pid}-7.tmp"
    others = (own.path / f"metrics.csv.{os.getpid()}-7.tmp", own.path / f"mine.{ended.pid}-7.tmp")
    for path in (left, *others):
        path.write_bytes(b"half")
    export_metrics(own, "csv")
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_half_line_is_no_past(own):
    """A checkpoint that is made before the next line replaces it follows on whole lines alone."""
    before = Past(own.path).now()
    past = Past(own.path)
    with (own.path / "steps.jsonl").open("ab") as file:
        file.write(b'{"step": 20, "los')
    assert past.now() == before
    lines, last = own.logs.steps, own.steps[-1]
    lines.append({**last, "step": 20})
    lines.close()
    assert past.now() == Past(own.path).now()
    assert past.now()["steps.jsonl"] == past_of(own.path / "steps.jsonl", 21)


def test_a_new_runs_names_are_flushed(tmp_path, monkeypatch):
    """The folder's, its files' and that of its first checkpoint: or a power loss takes them all."""
    flushed, fsync = [], os.fsync

    def hear(handle):
        fsync(handle)
        flushed.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", hear)
    run = make(tmp_path / "runs" / "new")
    made = [run.path.parent, run.path, *(p for p in run.path.iterdir() if p.name[0] != ".")]
    assert {path.stat().st_ino for path in made} <= set(flushed)
    at = run.path.stat().st_ino
    flushed.clear()
    save_checkpoint(run.checkpoint_folder, 0, {"w": torch.ones(1)}, {})
    assert at in flushed  # since it holds the new folder `checkpoints`
