"""Training in a process of its own, and the events that tell of it."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.runs.tiny import finish, make
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.training.control import ask
from whence.studio import stream
from whence.studio.answers import answer
from whence.studio.processes import worker
from whence.train.optimizers import SGDConfig


def wait(run: Run, wanted) -> None:
    end = time.monotonic() + 300
    while not wanted():
        assert time.monotonic() < end, answer("live", {"run": run.name}, run.path.parent)["state"]
        time.sleep(0.05)


def told(run: Run) -> tuple[str, str | None]:
    found = answer("live", {"run": run.name}, run.path.parent)
    return found["state"], found["trouble"]


def test_events_leave_no_step_out(studio, ended):
    run = make(studio.folder / "watched", steps=400)
    worker.start(run, pause_at=0)
    with pytest.raises(WhenceError, match="trained already"):
        worker.start(run)
    wait(run, lambda: told(run)[0] == "paused")
    frames = []
    with studio.client(timeout=60) as client:
        with client.stream("GET", "/events?run=watched&from=0") as reply:
            for line in reply.iter_lines():
                if not line.startswith("data: "):
                    continue
                frames.append(json.loads(line[6:]))
                if len(frames) == 1:
                    ask(run.path, pause_at=None, pace=150.0)
                if frames[-1]["state"] == "finished":
                    break
        again = client.get("/ask/live")
        assert again.status_code == 405
    assert [f["from"] for f in frames[1:]] == [f["done"] for f in frames[:-1]]
    steps = [step for frame in frames for step in frame["step"]]
    losses = [loss for frame in frames for loss in frame["loss"]]
    record = run.steps
    assert steps == sorted(set(steps))
    assert losses == [record[step]["loss"] for step in steps]
    assert frames[-1]["done"] == 400
    for frame in frames[1:]:  # one of more than 120 steps is thinned
        if frame["done"] - frame["from"] <= 120:
            assert frame["step"] == list(range(frame["from"], frame["done"]))
    assert stream.FASTEST >= 1 / 15  # seconds slept between two frames
    usual = [e["step"] for e in run.evals if not e["whole"]]
    assert [e["step"] for f in frames for e in f["evals"]] == usual


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a word")
def test_told_to_end_it_saves_and_killed_it_says_so(tmp_path, ended):
    run = make(tmp_path / "runs" / "run", steps=100_000)
    worker.start(run)
    wait(run, lambda: len(run.steps) > 3)
    worker._started[run.path].send_signal(signal.SIGTERM)
    worker._started[run.path].wait(300)
    assert told(run) == ("stopped", None)
    assert run.checkpoints[-1] == len(run.steps)
    worker.start(run)
    done = len(run.steps)
    wait(run, lambda: len(run.steps) > done + 2)
    worker._started[run.path].kill()
    worker._started[run.path].wait(300)
    state, trouble = told(run)
    assert state == "stopped"
    assert "code -9" in trouble


def test_what_went_wrong_is_told(tmp_path, ended):
    run = make(tmp_path / "runs" / "run", optimizer=SGDConfig(learning_rate=1e30), steps=50)
    worker.start(run)
    wait(run, lambda: told(run)[0] == "stopped")
    assert "finite" in told(run)[1]


def test_finished_runs_are_refused(tmp_path):
    run = make(tmp_path / "runs" / "run", steps=2)
    finish(run)
    with pytest.raises(WhenceError, match="is finished"):
        worker.start(run)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are looked up in /proc")
def test_an_ended_training_leaves_no_zombie(tmp_path, ended):
    """Nobody asks about the run after its end."""
    run = make(tmp_path / "runs" / "run", steps=2)
    worker.start(run)
    stat = Path(f"/proc/{worker._started[run.path].pid}/stat")
    end = time.monotonic() + 300
    while stat.exists():
        assert time.monotonic() < end, stat.read_text()
        time.sleep(0.05)
    assert run.state == "finished"
