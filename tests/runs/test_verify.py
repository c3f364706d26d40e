"""Certificates, and what is said and saved when files are damaged."""

import errno
import json
import os
import shutil

import pytest

from tests.runs.tiny import abandon, files, finish, losses, make, sign
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.upkeep.repair import repair
from whence.runs.upkeep.verify import verify


def test_a_whole_run_is_certified(whole):
    steps = []
    result = verify(whole, progress=steps.append)
    assert result.exact
    assert steps == list(range(20))
    assert (result.checked, result.steps) == (20, 20)
    assert result.states == [5, 10, 15, 20]
    assert result.reasons == []
    assert result.manifest["threads"] == 1


def test_a_sample_is_spread_and_large_enough(whole):
    result = verify(whole, n_steps=6)
    assert 6 <= result.checked <= 10
    assert len(result.states) == 2


def test_a_changed_loss_is_found(own):
    records = list(own.steps)
    records[7]["loss_hex"] = (1.5).hex()
    own.logs.steps.replace(records)
    with pytest.raises(WhenceError, match=r"steps.jsonl is damaged: it isn't the record"):
        verify(Run.open(own.path))
    sign(own)  # as one would who means to deceive
    result = verify(Run.open(own.path))
    assert not result.exact
    [difference] = result.differences
    assert (difference.step, difference.recorded) == (7, 1.5)


def test_a_checkpoint_of_other_weights_is_found(own, tmp_path):
    """Sound files, but not those that training leads to."""
    other = make(tmp_path / "other", seed=5)
    finish(other)
    shutil.rmtree(own.path / "checkpoints/000010")
    shutil.copytree(other.path / "checkpoints/000010", own.path / "checkpoints/000010")
    with pytest.raises(WhenceError, match=r"000010.state.json is damaged: it is of another run"):
        verify(own)
    sign(own)
    result = verify(own)
    assert result.other_states == [10, 15]
    assert [d.step for d in result.differences] == [10, 11, 12, 13, 14]


def flip(path, at: int = -2) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_last_checkpoint(tmp_path, whole, name, how):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    path = run.path / "checkpoints/000010" / name
    if how == "flipped":
        flip(path, 40)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    with pytest.raises(WhenceError) as caught:
        finish(Run.open(run.path))
    said = str(caught.value)
    assert str(path) in said
    assert "The run can continue from step 5: 'whence verify" in said
    with pytest.raises(WhenceError, match="damaged"):
        verify(Run.open(run.path))
    [told] = repair(Run.open(run.path))
    assert "Checkpoint 000010 is put aside" in told
    assert (run.path / "damaged/000010").is_dir()
    finish(Run.open(run.path))
    assert losses(run) == losses(whole)
    assert files(run, 20) == files(whole, 20)
    assert repair(run) == []


@pytest.mark.parametrize("how", ["flipped", "cut", "gap"])
def test_a_damaged_record(tmp_path, whole, how):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    path = run.path / "steps.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "flipped":
        lines[8] = lines[8].replace(b'"rate": 0.0', b'"rate": 0.1')  # of step 7
    elif how == "cut":
        del lines[8:]
    else:
        del lines[8]
    path.write_bytes(b"".join(lines))
    with pytest.raises(WhenceError) as caught:
        finish(Run.open(run.path))
    assert str(path) in str(caught.value)
    assert "The run can continue from step 5" in str(caught.value)
    told = repair(Run.open(run.path))
    assert any("000010 is put aside" in t for t in told) == (how != "whatever")
    finish(Run.open(run.path))
    assert losses(run) == losses(whole)
    assert files(run, 20) == files(whole, 20)


def test_a_torn_last_line_doesnt_count(tmp_path, whole):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    path = run.path / "steps.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert len(run.steps) == 12
    finish(run)
    assert losses(run) == losses(whole)


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.json", "tokenizer.json", "run.toml"])
def test_what_nothing_can_replace_is_named(own, name):
    flip(own.path / name, 60)
    with pytest.raises(WhenceError, match=f"{name}.* is damaged.*[Rr]estore|{name} is damaged"):
        finish(Run.open(own.path), steps=30)


def test_evals_and_samples_too(own):
    for name in ("evals.jsonl", "samples.jsonl"):
        flip(own.path / name, 80)
    with pytest.raises(WhenceError, match=r"evals.jsonl is damaged"):
        verify(own)
    assert len(repair(own)) == 2
    assert verify(own).exact


def test_a_newer_run_is_refused(own):
    from whence.runs.store.header import _first_line

    path = own.path / "run.toml"
    body = path.read_text(encoding="utf-8").partition("\n")[2].replace("schema = 1", "schema = 2")
    path.write_text(_first_line(body) + body, encoding="utf-8")
    with pytest.raises(WhenceError, match="has schema 2 and this Whence reads up to 1: upgrade"):
        Run.open(own.path)
    state = own.path / "checkpoints/000020/state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"schema": 7}))
    with pytest.raises(WhenceError, match="has schema 7"):
        own.model("last")


@pytest.mark.parametrize("name", ["evals.jsonl", "steps.jsonl", "checkpoints/000010/state.json"])
def test_a_file_that_cant_be_read_just_now_is_not_taken_for_damaged(own, monkeypatch, name):
    """A disk that fails once must not cost what it holds."""
    before = {p: p.read_bytes() for p in own.path.rglob("*") if p.is_file()}
    path, opening = own.path / name, os.open

    def fail(target, *arguments, **options):
        if target == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opening(target, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(WhenceError, match=r"Input/output error.*nothing was put aside"):
        repair(own)
    monkeypatch.undo()
    after = {p: p.read_bytes() for p in own.path.rglob("*") if p.is_file()}
    assert {p: raw for p, raw in after.items() if p in before} == before
    assert repair(own) == []
