"""A training that is paused, stepped, slowed and stopped from outside computes the same numbers."""

import threading
import time

import pytest

from tests.runs.tiny import files, finish, losses, make
from whence.errors import WhenceError
from whence.runs.training import control
from whence.runs.training.control import FILE, Control, ask, train_controlled
from whence.runs.training.events import Ended, Stepped


class Elsewhere:
    """A training in a thread, controlled by its file alone."""

    def __init__(self, run):
        self.run, self.steps, self.ended, self.looks = run, 0, None, 0
        Control(pause_at=0).write(run.path)
        self.thread = threading.Thread(target=self._train)
        self.thread.start()

    def _train(self):
        for event in train_controlled(self.run, should_stop=self._look, fresh=False):
            if isinstance(event, Stepped):
                self.steps += 1
            if isinstance(event, Ended):
                self.ended = event

    def _look(self) -> bool:
        self.looks += 1
        return False

    def reach(self, steps: int) -> None:
        while self.steps < steps and self.thread.is_alive():
            time.sleep(0.01)
        looks = self.looks  # once before each step, or again and again where it waits
        while self.looks < looks + 5 and self.thread.is_alive():
            time.sleep(0.01)
        assert self.steps == steps


def test_step_by_step_is_the_same_run(tmp_path):
    whole = make(tmp_path / "whole")
    finish(whole)
    run = make(tmp_path / "stepped")
    training = Elsewhere(run)
    training.reach(0)
    for k in range(1, 4):
        ask(run.path, pause_at=k)
        training.reach(k)
    ask(run.path, pause_at=12)
    training.reach(12)
    ask(run.path, pause_at=None)
    training.thread.join(60)
    assert training.ended.why == "finished"
    assert losses(run) == losses(whole)
    assert files(run, 20) == files(whole, 20)


def test_stop_while_paused_does_no_further_step(tmp_path):
    run = make(tmp_path / "run")
    training = Elsewhere(run)
    ask(run.path, pause_at=3)
    training.reach(3)
    ask(run.path, stop=True)
    training.thread.join(60)
    assert training.ended == Ended(3, "stopped")
    assert run.checkpoints[-1] == 3
    assert run.state == "stopped"
    finish(run)  # what was asked of it before is forgotten
    assert run.state == "finished"


def test_stop_before_the_first_step(tmp_path):
    run = make(tmp_path / "run")
    training = Elsewhere(run)
    training.reach(0)
    ask(run.path, stop=True)
    training.thread.join(60)
    assert training.ended == Ended(0, "stopped")
    assert run.steps == []


class Clock:
    """A clock that moves only when something sleeps."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_pace(tmp_path, monkeypatch):
    clock = Clock()
    run = make(tmp_path / "run", steps=5)
    monkeypatch.setattr(control, "time", clock)
    Control(pace=10.0).write(run.path)
    events = train_controlled(run, fresh=False)
    began = [clock.now for event in events if isinstance(event, Stepped)]
    assert began == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_fresh_forgets(tmp_path):
    run = make(tmp_path / "run", steps=2)
    Control(pause_at=0, stop=True).write(run.path)
    *_, last = train_controlled(run)
    assert last == Ended(2, "finished")


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1, "pause_at": "x"}', '{"schema": 9}', "[]"])
def test_what_cannot_be_read_asks_for_nothing(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    assert Control.read(tmp_path) == Control()


@pytest.mark.parametrize("wishes", [{"pace": 0.0}, {"pace": float("nan")}, {"pause_at": -1}])
def test_wishes_without_sense(tmp_path, wishes):
    with pytest.raises(WhenceError):
        ask(tmp_path, **wishes)
