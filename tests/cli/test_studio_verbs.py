"""`whence studio`, `control` and `growth`."""

import json
import re
import shutil
import signal
import sys
import time

import httpx
import psutil
import pytest

from tests.cli.command import start, whence
from whence.runs.questions.growth import growth
from whence.runs.run import Run


def test_growth(trained, capsys):
    assert whence("growth", trained, "the cat", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    found = growth(Run.open(trained), "the cat", 8)
    assert told["tokens"] == list("the cat")
    assert told["steps"] == found.steps
    assert told["probabilities"] == found.probabilities.tolist()
    assert whence("growth", trained, "the cat") == 0
    shown = capsys.readouterr().out
    assert f"{found.probabilities[-1][0]:.4f}" in shown
    assert whence("growth", trained, "\u20ac") == 2


def test_control_of_a_training_in_another_terminal(trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "run")
    assert whence("control", folder, "--pause") == 2
    assert "no process is training" in capsys.readouterr().err
    assert whence("control", folder, "--pause", "--play") == 2
    training = start("resume", folder, "--steps", "1000000", "--json")
    try:
        line = training.stdout.readline()
        while '"step"' not in line.partition(",")[2]:
            line = training.stdout.readline()
        assert whence("control", folder, "--pause") == 0
        done = still(folder, training.pid)
        assert whence("control", folder, "--step") == 0
        assert still(folder, training.pid) == done + 1
        assert whence("control", folder, "--stop") == 0
        training.communicate(timeout=300)
        assert training.returncode == 0
        assert Run.open(folder).state == "stopped"
        assert Run.open(folder).checkpoints[-1] == done + 1
    finally:
        training.kill()
        training.communicate()


def still(folder, pid: int) -> int:
    """How many steps there are once a process only looks again and again whether it may go on."""
    process = psutil.Process(pid)
    before, now = -1, len(Run.open(folder).steps)
    while now != before:
        looks = process.num_ctx_switches().voluntary  # it sleeps between two of them
        while process.num_ctx_switches().voluntary < looks + 10:
            time.sleep(0.01)
        before, now = now, len(Run.open(folder).steps)
    return now


def test_studio_until_ctrl_c(tmp_path):
    process = start("studio", "--no-browser", "--runs", tmp_path / "the runs", "--port", 0)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/\?code=\S+", process.stdout.readline())[0]
        assert httpx.get(address, trust_env=False).status_code == 200
        if sys.platform != "win32":
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0
            assert errors == ""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("words", [["--runs", "a file"], ["--port", "70000"]])
def test_studio_refuses(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("no folder")
    assert whence("studio", "--no-browser", *words) == 2
    assert capsys.readouterr().err.startswith("whence: ")
