"""Findings as a run trains: in the command's output and in the studio's answer."""

import json
from collections import deque
from dataclasses import replace

import numpy as np

from tests.doctor.test_runs import SOUND, SOURCE, trained
from whence import Run
from whence.cli import main
from whence.doctor.live import RULES_ON_RECORD, Live
from whence.doctor.signs import far_off
from whence.runs.fork import fork
from whence.runs.training.events import Stepped
from whence.studio.answers import answer
from whence.train.optimizers import AdamWConfig
from whence.train.schedules import Schedule


def test_the_distance_is_in_robust_deviations():
    values = np.random.default_rng(0).normal(3, 1, 20)
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    far, middle = far_off(deque(values), 30.0)
    assert middle == np.median(values)
    assert far is not None
    assert abs(far - (30.0 - np.median(values)) / spread) < 1e-3 * far
    assert far_off(deque(values), values.max() + 0.1)[0] is None


def test_a_jump_is_told_at_its_step(tmp_path):
    run = Run.create(replace(SOUND, steps=80), tmp_path / "run", SOURCE)
    live, told = Live(run), []
    for step in range(60):
        loss = 9.0 if step == 41 else 2.0 + 0.01 * (step % 3)
        told += live.note(Stepped(step, loss, 1e-3, 1.0, 0.1, 64))
    assert [(f.rule, f.step) for f in told] == [("spike", 41)]


def test_a_first_loss_far_above_an_even_guess_is_told_at_once(tmp_path):
    model = replace(SOUND.model, zero_head=False, init_std=3.0)
    run = Run.create(replace(SOUND, model=model, steps=2), tmp_path / "run", SOURCE)
    live = Live(run)
    told = [f for event in run.train() for f in live.note(event)]
    assert "loss-at-start" in [f.rule for f in told]


def test_the_training_command_tells_findings(tmp_path, capsys):
    run = trained(tmp_path / "run", replace(SOUND, schedule=Schedule("constant", warmup=1)))
    wild = fork(run, 60, tmp_path / "wild", {"optimizer.learning_rate": 5.0})
    capsys.readouterr()
    main(["resume", str(wild.path), "--json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [e for e in events if e["event"] == "finding"]
    assert {e["rule"] for e in found} & {"spike", "diverging"}
    assert all(e["advice"] for e in found)


def test_the_studio_gets_findings_and_marks(tmp_path):
    recipe = replace(SOUND, optimizer=AdamWConfig(learning_rate=0.0), steps=60)
    trained(tmp_path / "still", recipe)
    quick = answer("doctor", {"run": "still"}, tmp_path)
    assert "rate-is-zero" in [f["rule"] for f in quick["findings"]]
    assert {"step", "level", "rule", "verdict"} == quick["marks"][0].keys()
    assert quick["shell"].startswith("whence doctor")
    whole = answer("doctor", {"run": "still", "seconds": 20.0}, tmp_path)
    assert whole["measured"]
    assert json.dumps(whole)


def test_what_is_asked_while_training_reads_no_weights(tmp_path):
    run = trained(tmp_path / "run", replace(SOUND, steps=30))
    assert answer("doctor", {"run": "run"}, tmp_path)["measured"] is False
    assert run.checkpoints
    assert {"diverging", "rate-is-zero", "not-learning"} <= {r.name for r in RULES_ON_RECORD}
