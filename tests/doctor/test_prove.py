"""Advice that is tried beside a control, and the first cause by replay."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.doctor.test_runs import SOUND, SOURCE, UNHURRIED, trained
from whence import Run
from whence.cli import main
from whence.data import text_source
from whence.doctor import RULES, diagnose
from whence.doctor.prove import fresh, prove, try_change
from whence.errors import WhenceError
from whence.runs.recipe import Data
from whence.train.optimizers import AdamWConfig
from whence.train.schedules import Schedule

BY_NAME = {rule.name: rule for rule in RULES}
SHORT = replace(SOUND, steps=40)


def proof_of(run, rule, seeds=2):
    [finding] = [f for f in diagnose(run, seconds=UNHURRIED) if f.rule == rule]
    assert finding.change is not None
    return try_change(run, finding, BY_NAME[rule], seeds)


def test_a_mask_that_is_put_back_cures(tmp_path):
    run = trained(tmp_path / "run", replace(SHORT, model=replace(SHORT.model, causal=False)))
    proof = proof_of(run, "sees-the-future")
    assert proof.outcome == "cured", proof
    assert len(proof.with_change) == len(proof.control) == 2


def test_a_lower_rate_cures_a_rate_that_is_too_high(tmp_path):
    run = trained(tmp_path / "run", replace(SHORT, optimizer=AdamWConfig(learning_rate=1.0)))
    proof = proof_of(run, "update-too-large")
    assert proof.outcome in ("cured", "better"), proof
    assert np.mean(proof.with_change) < np.mean(proof.control)


def test_the_control_is_the_run_itself_where_the_seed_is_its_own(tmp_path):
    run = trained(tmp_path / "run", replace(SHORT, steps=10))
    again = fresh(run, run.recipe, tmp_path / "again")
    for _ in again.train():
        pass
    assert [s["loss_hex"] for s in again.steps] == [s["loss_hex"] for s in run.steps]


def test_findings_carry_their_proof(tmp_path, capsys):
    slow = replace(SHORT, schedule=Schedule("constant", warmup=4000))
    run = trained(tmp_path / "run", slow)
    found = prove(run, diagnose(run), seeds=1)
    [finding] = [f for f in found if f.rule == "warmup-too-long"]
    assert finding.proof is not None
    assert finding.proof.outcome == "cured"
    assert "over 1 seeds" in str(found)
    assert main(["doctor", str(run.path), "--prove", "--seeds", "1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {f["proof"] and f["proof"]["outcome"] for f in told["findings"]} >= {"cured"}
    assert main(["doctor", str(run.path), "--seeds", "0"]) == 2


def test_the_first_bad_step_of_a_rate_that_jumps(tmp_path):
    """A run is forked with a far higher rate: the step at which the tensors go astray is named."""
    run = trained(tmp_path / "run", replace(SOUND, schedule=Schedule("constant", warmup=1)))
    from whence.runs.fork import fork

    wild = fork(run, 50, tmp_path / "wild", {"optimizer.learning_rate": 3.0})
    try:
        for _ in wild.train():
            pass
    except WhenceError:
        pass
    found = diagnose(Run.open(wild.path), seconds=60)
    traced = [f for f in found if f.rule in ("spike", "diverging", "exploding-gradients")]
    assert traced, str(found)
    # nothing before step 50 can be measured in the fork: it shares that past
    assert all(f.step >= 50 for f in traced), str(found)


def test_a_poisoned_stretch_of_text_is_traced_to_its_rows(tmp_path):
    rng = np.random.default_rng(1)
    clean = "abcabdabe" * 900
    noise = "".join(rng.choice(list("zyxwvuts"), 60))
    text = clean[:4000] + noise + clean[4000:]
    recipe = replace(
        SOUND, data=Data(source=("poisoned",)), optimizer=AdamWConfig(learning_rate=3e-3),
        steps=150, batch_size=2, schedule=Schedule("constant", warmup=1),
    )  # fmt: skip
    run = trained(tmp_path / "run", recipe, text_source("poisoned", lambda: [text]))
    found = diagnose(run, seconds=60)
    spikes = [f for f in found if f.rule == "spike"]
    assert spikes, str(found)
    step = spikes[0].step
    rows = {
        i for i, s in enumerate(run.batches.starts(step))
        if run.dataset.tokenizer.decode(run.dataset.train[s : s + 25]).strip("abcde")
    }  # fmt: skip
    named = [f.what for f in spikes[0].facts if "accounts for" in f.what]
    assert any(f"example {row} " in what for row in rows for what in named), str(found)


@pytest.mark.parametrize("source", [SOURCE])
def test_a_change_that_cannot_be_made_is_said(tmp_path, source):
    run = trained(tmp_path / "run", replace(SHORT, steps=5), source)
    from whence.doctor.finding import Change, Finding

    finding = Finding("x", "act", (), "y", change=Change({"model.n_heads": 3}), rule="spike")
    proof = try_change(run, finding, BY_NAME["spike"], 1)
    assert proof.outcome == "no difference"
    assert "can't be tried" in proof.detail
