"""Kills (many more by `python -m tests.runs.kills`), full disks and a second process."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.tiny import losses, make
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
    process = python("-m", "tests.runs.kills", "--kills", 20, "--seed", 1)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert ast.literal_eval(said)["kills"] >= 20


@POSIX
@pytest.mark.slow
def test_a_fault_at_every_so_many_operations():
    """A sample of `python -m tests.runs.every`."""
    process = python("-m", "tests.runs.every", "--every", 97, "--first", 11)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert said.count("killed") == 1


@POSIX
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the simulated disk lies in /dev/shm")
def test_a_plug_pulled_at_every_so_many_operations():
    """A sample of `python -m tests.runs.power`."""
    process = python("-m", "tests.runs.power", "--every", 61, "--first", 40)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert said.count("'strict'") == 1


@pytest.mark.slow
def test_a_sample_of_cuts_is_told_by_every_reader():
    """A sample of `python -m tests.runs.cuts`."""
    process = python("-m", "tests.runs.cuts", "--every", 23, "--first", 4)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert ": 0 silent" in said


TRAIN = """
import sys
from whence.errors import WhenceError
from whence.runs.run import Run
limit = int(sys.argv[2])
if limit:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for event in Run.open(sys.argv[1]).train():
        if type(event).__name__ == "Stepped" and len(sys.argv) > 3:
            print("stepped", flush=True)
            sys.stdin.read()
except WhenceError as error:
    print(error)
    sys.exit(2)
"""


@POSIX
@pytest.mark.parametrize("limit", [1000, 8000])
def test_no_room_to_write_is_told_and_loses_nothing(tmp_path, whole, limit):
    """A file-size limit stands for a full disk: run.toml, the record or a checkpoint can't grow."""
    run = make(tmp_path / "run")
    process = python("-c", TRAIN, run.path, limit)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 2, said
    assert "can't be written" in said
    assert "File too large" in said
    assert not list(run.path.rglob("*.part"))
    for _ in Run.open(run.path).train():
        pass
    assert losses(run) == losses(whole)


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
        process = python("-c", TRAIN, run.path, 0)
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 2, said
        assert "No space left" in said or "of disk and" in said
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        for _ in Run.open(run.path).train():
            pass
        assert losses(run) == losses(whole)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_second_process_is_refused(tmp_path):
    run = make(tmp_path / "run")
    first = python("-c", TRAIN, run.path, 0, "wait", stdin=subprocess.PIPE)
    assert first.stdout
    assert first.stdout.readline() == "stepped\n"
    assert Run.open(run.path).state == "training"
    second = python("-c", TRAIN, run.path, 0)
    said, _ = second.communicate(timeout=100)
    assert second.returncode == 2
    assert "another process is training" in said
    first.kill()
    first.communicate()
    assert Run.open(run.path).state == "stopped"  # the lock dies with its process
