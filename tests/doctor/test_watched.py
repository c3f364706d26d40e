"""Faults in loops of others: each is named by its own rule, and a sound loop by none."""

import pytest
import torch

from tests.doctor.loops import Tiny, train
from whence.doctor import diagnose

FAULTS = {
    "no mask": "sees-the-future",
    "axis": "wrong-axis",
    "no scale": "missing-scale",
    "no positions": "no-positions",
    "no residual": "missing-residual",
    "key is the query": "no-gradient",
    "dropout in evaluation": "random-in-evaluation",
    "parameters left out": "not-optimized",
    "frozen": "frozen",
    "bf16": "update-underflow",
    "not zeroed": "gradients-not-cleared",
    "zeroed early": "gradients-cleared-early",
    "shift 0": "targets-shifted",
    "shift 2": "targets-shifted",
    "wrong targets": "targets-unrelated",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_first_thing_found(tmp_path, fault):
    found = diagnose(train(tmp_path / "loop", fault))
    assert [f.rule for f in found][:1] == [FAULTS[fault]], str(found)


@pytest.mark.parametrize("fault", ["no mask", "not zeroed", "frozen", ""])
def test_the_folder_tells_it_too_given_what_builds_the_model(tmp_path, fault):
    """Behind the process's end: stored steps are done again with a model that was built anew."""
    train(tmp_path / "loop", fault, keep="all")
    model = Tiny(fault)
    if fault == "frozen":
        model.blocks[0].requires_grad_(False)
    found = diagnose(tmp_path / "loop", built=model)
    assert [f.rule for f in found][:1] == ([FAULTS[fault]] if fault else []), str(found)
    assert "40 stored steps" in str(found)
    alone = diagnose(tmp_path / "loop")
    assert FAULTS.get(fault) not in [f.rule for f in alone]
    assert "--model my_module:build" in str(alone)


@pytest.mark.parametrize("seed", range(3))
def test_a_sound_loop_gives_no_alarm(tmp_path, seed):
    found = diagnose(train(tmp_path / "loop", seed=seed))
    assert not [f for f in found if f.level == "act"], str(found)
    assert found.judged
    assert "steps that are in memory" in str(found)


def test_the_stale_gradient_is_that_of_the_step_before(tmp_path):
    recorder = train(tmp_path / "loop", "not zeroed", steps=12)
    [finding] = [f for f in diagnose(recorder) if f.rule == "gradients-not-cleared"]
    facts = {f.what: f for f in finding.facts}
    step = facts["norm of the gradient that the update saw"].step
    [update] = recorder.at(step).step.updates
    seen = torch.cat([g.flatten() for g in update.gradients.values()])
    [before] = recorder.at(step - 1).step.updates
    old = torch.cat([g.flatten() for g in before.gradients.values()])
    assert facts["norm of the gradient that the update saw"].value == pytest.approx(
        float(seen.norm()), rel=1e-5
    )
    assert facts["of it new in this step"].value == pytest.approx(
        float((seen - old).norm()), rel=1e-4
    )
