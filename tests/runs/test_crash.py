"""Kills (many more by `python -m tests.runs.kills`), full disks and a second process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import cuts
from tests.runs.forked import forked
from tests.runs.tiny import losses, make
from whence.errors import WhenceError
from whence.runs.run import Run

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name == "nt", reason="the harness forks")


def python(*words: object, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )


@POSIX
@pytest.mark.slow
def test_twenty_kills_lose_nothing():
    """A sample of `python -m tests.runs.kills`, of as many kinds as so many kills come to."""
    kills = pytest.importorskip("tests.runs.kills")
    assert kills.harness(20, 1, ["gpt", "lstm", "ngram", "seq2seq"])["kills"] >= 20


@POSIX
@pytest.mark.slow
def test_a_fault_at_every_so_many_operations():
    """A sample of `python -m tests.runs.every`."""
    every = pytest.importorskip("tests.runs.every")
    assert list(every.disturb(193, 11)) == []
    assert set(every.COUNTS) == set(every.KINDS)


@POSIX
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the simulated disk lies in /dev/shm")
def test_a_plug_pulled_at_every_so_many_operations():
    """A sample of `python -m tests.runs.power`."""
    power = pytest.importorskip("tests.runs.power")
    assert list(power.power(121, 40)) == []
    assert set(power.COUNTS) == {"moments", *power.KINDS}


@pytest.mark.slow
def test_a_sample_of_cuts_is_told_by_every_reader():
    """A sample of `python -m tests.runs.cuts`."""
    n, silent = cuts.silent(23, 4)
    assert n > 10
    assert silent == []


TRAIN = """
import sys
from whence.runs.run import Run
for event in Run.open(sys.argv[1]).train():
    if type(event).__name__ == "Stepped":
        print("stepped", flush=True)
        sys.stdin.read()
"""


@POSIX
@pytest.mark.parametrize("limit", [1000, 8000])
def test_no_room_to_write_is_told_and_loses_nothing(tmp_path, whole, limit):
    """A file-size limit stands for a full disk: run.toml, the record or a checkpoint can't grow."""
    run = make(tmp_path / "run")
    said = refused_elsewhere(run, limit)
    assert "can't be written" in said
    assert "File too large" in said
    assert not list(run.path.rglob("*.part"))
    for _ in Run.open(run.path).train():
        pass
    assert losses(run) == losses(whole)


def refused_elsewhere(run: Run, limit: int) -> str:
    """Train in another process whose files can't grow beyond a limit; give what refuses it."""
    import resource
    import signal

    read_end, write_end = os.pipe()
    if not (pid := forked()):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            for _ in run.train():
                pass
        except WhenceError as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as said:
        told = said.read()
    os.waitpid(pid, 0)
    return told


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux"
)
def test_a_full_disk_is_told_and_loses_nothing(tmp_path, whole):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine doesn't let root mount a tmpfs")
    try:
        run = make(disk / "run")
        with pytest.raises(WhenceError, match=r"No space left|of disk and"):
            list(run.train())
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        for _ in Run.open(run.path).train():
            pass
        assert losses(run) == losses(whole)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_second_process_is_refused(tmp_path):
    run = make(tmp_path / "run")
    first = python("-c", TRAIN, run.path, stdin=subprocess.PIPE)
    assert first.stdout
    assert first.stdout.readline() == "stepped\n"
    assert Run.open(run.path).state == "training"
    with pytest.raises(WhenceError, match="another process is training"):
        next(Run.open(run.path).train())
    first.kill()
    first.communicate()
    assert Run.open(run.path).state == "stopped"  # the lock dies with its process
