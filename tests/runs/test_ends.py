"""A stop with the last step, a measurement broken off, and reading while something is let go."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.command import TINY
from tests.runs.tiny import RECIPE, TEXT, finish, losses, make
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store import checkpoints
from whence.runs.store.tidy import let_go
from whence.runs.training import recorded as training
from whence.runs.training.control import ask, train_controlled
from whence.runs.training.events import Ended, Evaluated
from whence.runs.upkeep.verify import verify

ROOT = Path(__file__).parents[2]


def test_a_stop_with_the_last_step_is_the_end(tmp_path, whole):
    run = make(tmp_path / "run")
    events = finish(run, until=20)
    assert events[-1] == Ended(20, "finished")
    assert run.state == "finished"
    assert run.evals == whole.evals
    with pytest.raises(WhenceError, match="the run is finished"):
        run.check_unfinished()


def test_a_stop_by_control_with_the_last_step(tmp_path, whole):
    run = make(tmp_path / "run")
    events = []
    for event in train_controlled(run):
        events.append(event)
        if type(event).__name__ == "Stepped" and event.step == 19:
            ask(run.path, stop=True)
    assert events[-1] == Ended(20, "finished")
    assert run.evals == whole.evals


@pytest.mark.parametrize("at", ["usual", "whole"])
def test_a_last_measurement_that_was_broken_off_is_made_up_for(tmp_path, whole, at):
    """Ctrl-C while it measures at the end: the steps are saved, and resume measures."""
    run = make(tmp_path / "run")
    events = []
    last = 0

    def measuring(done: int, total: int) -> bool:
        nonlocal last
        if len(run.logs.read_steps()) < 20:
            return False
        last += done == 0
        return last > (0 if at == "usual" else 1)

    for event in run.train(measuring=measuring):
        events.append(event)  # noqa: PERF402
    assert events[-1] == Ended(20, "stopped")
    assert not any(isinstance(e, Evaluated) and e.whole for e in events)
    assert run.checkpoints[-1] == 20
    assert run.state == "stopped"
    again = finish(Run.open(run.path))
    assert again[-1] == Ended(20, "finished")
    assert Run.open(run.path).state == "finished"
    assert run.evals == whole.evals
    assert losses(run) == losses(whole)
    assert verify(Run.open(run.path)).exact


@pytest.mark.skipif(os.name == "nt", reason="a closed terminal sends no signal there")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_signal_saves_and_ends(tmp_path, number):
    text = tmp_path / "bottles.txt"
    text.write_text(TEXT, encoding="utf-8")
    words = ["--out", tmp_path / "run", "--steps", "100000", "--json", *TINY]
    before = signal.signal(number, signal.SIG_DFL)  # what is ignored here would be there, too
    process = subprocess.Popen(
        [sys.executable, "-m", "whence", "train", text, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    signal.signal(number, before)
    assert process.stdout
    for line in process.stdout:
        if '"step"' in line and '"loss"' in line:
            break
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    run = Run.open(tmp_path / "run")
    assert run.checkpoints[-1] == len(run.steps)


@pytest.mark.parametrize("read", ["model", "rewind"])
def test_a_checkpoint_let_go_while_it_is_read_is_no_damage(own, whole, monkeypatch, read):
    """A training process lets it go between the choice of it and the reading."""
    check, gone = checkpoints.check_files, []

    def meanwhile(folder, step):
        if not gone:
            gone.append(step)
            with closing(own.logs) as logs:
                let_go(logs, folder, step)
        return check(folder, step)

    monkeypatch.setattr(checkpoints, "check_files", meanwhile)
    if read == "model":
        found, wanted = own.model(10), whole.model(10)
    else:
        found, wanted = own.at(12).model, whole.at(12).model
    assert gone == [10]
    for name, weight in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)


def test_what_a_kill_left_of_letting_go_is_finished(tmp_path, monkeypatch):
    """As if killed behind the last checkpoint, before and while others are let go."""
    record = replace(RECIPE.record, keep="last", keep_last=1, evaluate_every=100)
    whole = make(tmp_path / "whole", record=record, steps=15)
    finish(whole)
    run = make(tmp_path / "run", record=record, steps=15)
    with monkeypatch.context() as patch:
        patch.setattr(training, "surplus", lambda *_: [])
        finish(run)
    shutil.copytree(run.checkpoint_folder / "000005", run.checkpoint_folder / ".000007.gone")
    assert run.checkpoints == [5, 10, 15]
    with pytest.raises(WhenceError, match="the run is finished"):
        Run.open(run.path).check_unfinished()
    assert [p.name for p in run.checkpoint_folder.iterdir()] == ["000015"]
    assert whole.checkpoints == run.checkpoints


def test_the_last_step_opens_without_a_replay(tmp_path):
    """The state before it is kept, until the run goes on and another step is the last."""
    record = replace(RECIPE.record, checkpoint_every=None, evaluate_every=100)
    run = make(tmp_path / "run", record=record, steps=8)
    finish(run)
    assert run.checkpoints == [7, 8]
    assert run.at(7).replayed == 0
    finish(Run.open(run.path), steps=12)
    longer = Run.open(run.path)
    assert {11, 12} <= set(longer.checkpoints)
    assert 7 not in longer.checkpoints
    assert longer.at(11).replayed == 0
