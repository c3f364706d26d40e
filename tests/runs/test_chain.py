"""A run's files belong to each other: each cut, exchange and loss is told by whoever reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.tiny import RECIPE, abandon, files, finish, losses, make
from whence.errors import WhenceError
from whence.runs.compare import compare
from whence.runs.fork import fork
from whence.runs.questions.growth import growth
from whence.runs.recipe import Record
from whence.runs.run import Run
from whence.runs.upkeep.repair import repair
from whence.runs.upkeep.verify import verify

READERS: dict[str, Callable[[Run], object]] = {
    "state": lambda run: run.state,
    "steps": lambda run: run.steps,
    "evals": lambda run: run.evals,
    "samples": lambda run: run.samples,
    "checkpoints": lambda run: run.checkpoints,
    "rewind": lambda run: run.at(12),
    "model": lambda run: run.model("last"),
    "generate": lambda run: run.generate("9", at="last", max_tokens=2),
    "evaluate": lambda run: run.evaluate("9 bottles of beer"),
    "growth": lambda run: growth(run, "9 bottles"),
    "compare": lambda run: compare(run, run),
    "fork": lambda run: fork(run, 12, run.path.with_name("forked")),
    "verify": lambda run: verify(run, 1),
    "resume": lambda run: next(run.train(steps=31)),
}
RECORDS = ("steps.jsonl", "evals.jsonl", "samples.jsonl", "checkpoints.jsonl")


@pytest.fixture(scope="module")
def other_path(tmp_path_factory) -> Path:
    """A run like `whole`, of another seed."""
    path = tmp_path_factory.mktemp("other") / "other"
    finish(make(path, seed=5))
    return path


def told_by_all(path: Path, name: str) -> None:
    """Every reader must name the file."""
    said = {}
    for reader, read in READERS.items():
        with pytest.raises(WhenceError) as caught:
            read(Run.open(path))
        said[reader] = str(caught.value)
    assert {reader: told for reader, told in said.items() if name not in told} == {}


def cut(path: Path, keep: float) -> None:
    """Keep a part of a file's lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: int(len(lines) * keep)]))


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("how", ["gone", "empty", "half", "another's"])
def test_a_record_that_is_cut_lost_or_anothers(own, other_path, whole, name, how):
    path = own.path / name
    if how == "gone":
        path.unlink()
    elif how == "another's":
        shutil.copyfile(other_path / name, path)
    else:
        cut(path, 0.5 if how == "half" else 0)
    told_by_all(own.path, name)
    assert repair(Run.open(own.path))
    again = Run.open(own.path)
    assert verify(again).exact
    if again.state != "finished":
        finish(again)
    assert losses(again) == losses(whole)
    assert files(again, 20) == files(whole, 20)
    assert verify(again).exact
    assert repair(again) == []


@pytest.mark.parametrize("step", [5, 20, None])
def test_checkpoints_that_are_lost(own, whole, step):
    gone = own.checkpoint_folder / (f"{step:06d}" if step else "")
    shutil.rmtree(gone)
    told_by_all(own.path, f"{step:06d}" if step else "000005")
    assert repair(Run.open(own.path))
    again = Run.open(own.path)
    assert verify(again).exact
    if again.state != "finished":
        finish(again)
    assert files(again, 20) == files(whole, 20)


def test_a_checkpoint_of_another_run_is_never_used(own, other_path):
    """Sound files of the same shapes: only the chain tells."""
    place = own.checkpoint_folder / "000020"
    shutil.rmtree(place)
    shutil.copytree(other_path / "checkpoints/000020", place)
    told_by_all(own.path, "000020")
    [told] = repair(own)
    assert "it is of another run" in told
    assert own.checkpoints == [5, 10, 15]


def test_weights_of_another_checkpoint_are_never_used(own):
    for name in ("model.safetensors", "optimizer.safetensors"):
        shutil.copyfile(
            own.checkpoint_folder / "000005" / name, own.checkpoint_folder / "000010" / name
        )
    for read in (READERS["rewind"], READERS["verify"], lambda run: run.model(10)):
        with pytest.raises(WhenceError, match=r"000010.model.safetensors is damaged"):
            read(Run.open(own.path))


def test_a_checkpoint_of_a_copy_that_went_another_way(own, tmp_path):
    """The same run, copied and gone on with twice: what follows on one record isn't the other's."""
    copy = Run.open(shutil.copytree(own.path, tmp_path / "copy"))
    finish(own, steps=30)
    finish(copy, steps=40)  # another length, another schedule, other bits
    shutil.rmtree(own.checkpoint_folder / "000030")
    shutil.copytree(copy.checkpoint_folder / "000030", own.checkpoint_folder / "000030")
    told_by_all(own.path, "000030")
    shutil.copyfile(copy.path / "steps.jsonl", own.path / "steps.jsonl")
    shutil.copyfile(copy.path / "checkpoints.jsonl", own.path / "checkpoints.jsonl")
    with pytest.raises(WhenceError, match=r"is damaged"):
        verify(Run.open(own.path))


@pytest.mark.parametrize("how", ["another's", "older"])
def test_run_toml_of_another_run_or_time(own, other_path, tmp_path, how):
    if how == "older":
        before = (own.path / "run.toml").read_bytes()
        finish(own, steps=30)
        (own.path / "run.toml").write_bytes(before)
    else:
        shutil.copyfile(other_path / "run.toml", own.path / "run.toml")
    told_by_all(own.path, "run.toml")
    with pytest.raises(WhenceError, match=r"run.toml is damaged: it is (older|of another run)"):
        repair(Run.open(own.path))
    assert not (own.path / "damaged").exists()


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.json", "tokenizer.json"])
def test_another_text(own, tmp_path, name):
    from whence.data import text_source

    text = "".join(f"{i} glasses of milk in the fridge.\n" for i in range(200))
    other = Run.create(RECIPE, tmp_path / "milk", text_source("milk", lambda: [text]))
    shutil.copyfile(other.path / name, own.path / name)
    for read in (lambda run: run.at(12), verify, lambda run: next(run.train(steps=31))):
        with pytest.raises(WhenceError, match=name):
            read(Run.open(own.path))


def test_letting_go_is_no_loss(tmp_path):
    for keep in ("last", "logarithmic"):
        record = Record(evaluate_every=5, checkpoint_every=2, keep=keep)
        run = make(tmp_path / keep, record=record)
        finish(run)
        assert verify(Run.open(run.path)).exact
        assert repair(run) == []


def test_a_run_of_before_the_chain_is_read_and_trained(tmp_path, whole):
    """What was made without ids: no records named, nothing pinned."""
    from whence.runs.store.header import Header
    from whence.runs.store.records.lines import Lines

    run = make(tmp_path / "run")
    abandon(run, before=13)
    header = Header.read(run.path)
    for name in RECORDS:
        records = list(Lines(run.path / name, {}))
        Lines(run.path / name, {}).replace(records)
    (run.path / "checkpoints.jsonl").unlink()
    for state in run.checkpoint_folder.glob("*/state.json"):
        said = json.loads(state.read_text())
        for new in ("run", "sittings", "past", "bytes"):
            del said[new]
        state.write_text(json.dumps(said))
    header.id = ""
    header.write(run.path)
    old = Run.open(run.path)
    assert old.at(12).recorded
    assert verify(old).exact
    finish(old)
    assert losses(old) == losses(whole)
    assert verify(old).exact


def test_a_note_that_was_lost_in_the_middle(own):
    """A kill leaves the last checkpoint without a note, never one before it."""
    path = own.path / "checkpoints.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    told_by_all(own.path, "checkpoints.jsonl")
    path.write_bytes(b"".join(lines[:-1]))  # as a kill leaves it
    assert Run.open(own.path).checkpoints == [5, 10, 15, 20]
    assert verify(Run.open(own.path)).exact
