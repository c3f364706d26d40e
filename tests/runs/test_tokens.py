"""Runs on one large text have its tokens on the disk once."""

import shutil

import pytest

from tests.runs.tiny import finish, losses, make
from whence.runs.fork import fork
from whence.runs.run import Run
from whence.runs.store import tokens


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(tokens, "LARGE", 1)


def inode(run: Run) -> int:
    return (run.path / "tokens.bin").stat().st_ino


def test_two_runs_and_a_fork_share_and_either_can_go(tmp_path, whole):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    assert inode(one) == inode(two)
    finish(one)
    three = fork(one, 8, tmp_path / "three")
    assert inode(three) == inode(one)
    names = {path.name for path in three.path.iterdir()}
    assert "tokens.bin.shared" not in names
    size = (one.path / "tokens.bin").stat().st_size
    assert two.disk_use < size / 2 + 20_000
    one.remove()
    finish(two)
    assert losses(two) == losses(whole)


def test_another_text_or_a_damaged_one_is_not_shared(tmp_path):
    one = make(tmp_path / "one")
    path = one.path / "tokens.bin"
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    two = make(tmp_path / "two")
    assert inode(two) != inode(one)
    assert (two.path / "tokens.bin").read_bytes() == whole
    (one.path / "tokens.json").write_text("nonsense")
    assert inode(make(tmp_path / "three")) == inode(two)


def test_without_links_there_is_a_copy(tmp_path, whole, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(tokens.os, "link", refuse)
    shutil.copytree(whole.path, tmp_path / "one")
    two = make(tmp_path / "two")
    assert inode(two) != inode(Run.open(tmp_path / "one"))
    assert not (two.path / "tokens.bin.shared").exists()
    child = fork(Run.open(tmp_path / "one"), 8, tmp_path / "fork")
    finish(child)
    assert losses(child) == losses(whole)
