"""Faults in loops of others: each is named by its own rule, and a sound loop by none."""

import numpy as np
import pytest
import torch

from tests.doctor.loops import MIDDLE, Tiny, train
from whence.doctor import Evidence, diagnose
from whence.doctor.cause import strangers, usual_of
from whence.doctor.evidence import Setup, Texts
from whence.doctor.measuring.measured import Flow, Measured, Predicted, Weight
from whence.doctor.of_watched import evidence_of_recorder
from whence.doctor.rules.attention import padding_counted
from whence.doctor.rules.data import repeated_examples
from whence.doctor.rules.gradients import loss_rescaled
from whence.doctor.rules.updates import schedule_never_moves, update_too_large
from whence.doctor.texts import look_at_rows
from whence.watch import watch

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
    "part in evaluation": "trains-though-frozen",
    "loss times 1,000": "loss-rescaled",
    "warm-up of 1,000": "warmup-too-long",
}
BEGUN_LATE = {
    "not zeroed late": ("gradients-not-cleared", MIDDLE),
    "in evaluation late": ("idle-dropout", MIDDLE),
    "frozen late": ("frozen-but-moved", MIDDLE),
    "rate ends": ("rate-is-zero", MIDDLE),
    "same batch late": ("same-batch", MIDDLE + 1),  # the first that reads an old batch
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_first_thing_found(tmp_path, fault):
    found = diagnose(train(tmp_path / "loop", fault))
    assert [f.rule for f in found][:1] == [FAULTS[fault]], str(found)


@pytest.mark.parametrize(("fault", "share"), [("padding counts", 1.0), ("padding left out", 0.0)])
def test_padding_whose_targets_count_is_named(fault, share, tmp_path):
    found = evidence_of_recorder(train(tmp_path / "loop", fault, steps=6))
    assert found.probes.pad_counted == share
    assert bool(padding_counted(found)) == (share > 0)


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


@pytest.mark.parametrize("fault", ["loss times 1,000", "rate jumps"])
@pytest.mark.parametrize("kept", ["in memory", "on disk"])
def test_the_first_bad_step_is_found_by_halving(tmp_path, fault, kept):
    recorder = train(tmp_path / "loop", fault, keep="all" if kept == "on disk" else "crash")
    if kept == "on disk":
        found = diagnose(tmp_path / "loop", built=Tiny())
    else:
        found = diagnose(recorder)
    assert found.worst is not None
    assert found.worst.step == MIDDLE, str(found)
    facts = {f.what: f.value for f in found.worst.facts}
    assert facts["the last step where all was as usual"] == MIDDLE - 1


@pytest.mark.parametrize("fault", BEGUN_LATE)
def test_what_begins_late_is_named_at_its_first_step(tmp_path, fault):
    found = diagnose(train(tmp_path / "loop", fault))
    assert [(f.rule, f.step) for f in found][:1] == [BEGUN_LATE[fault]], str(found)


def test_where_few_steps_are_stored_the_first_bad_one_is_the_nearest(tmp_path):
    train(tmp_path / "loop", "loss times 1,000", keep="every 10")
    found = diagnose(tmp_path / "loop", built=Tiny())
    assert found.worst is not None
    facts = {f.what: f.value for f in found.worst.facts}
    assert found.worst.step is not None
    assert (facts["the last step where all was as usual"], found.worst.step) == (20, 30)


def test_a_mean_over_more_targets_and_a_factor_that_is_taken_out_are_no_rescaling():
    def step(number, n, weight, seen):
        p = Predicted((n, 5), 5, 1.0, 1.0, True, np.zeros(n, int), None,
                      np.ones(n), np.full(n, weight))  # fmt: skip
        return Measured(number, predicted=p, seen=seen)

    first = step(0, 8, 1 / 8, 1.0)
    for other in (step(9, 400, 1 / 400, 1.0), step(9, 8, 65536 / 8, 1.1)):
        assert loss_rescaled(Evidence("x", measured=[first, other])) is None
    jumped = Evidence("x", measured=[first, step(9, 8, 12.5, 100.0)])
    found = loss_rescaled(jumped)
    assert found is not None
    assert found.step == 9


def test_short_examples_that_are_equal_by_chance_are_no_copies():
    rng = np.random.default_rng(0)
    chance, copied = Texts(), Texts()
    look_at_rows(chance, [rng.integers(2, size=(8, 6)) for _ in range(40)])
    rows = rng.integers(50, size=(16, 6))
    look_at_rows(copied, [rows[rng.integers(16, size=8)] for _ in range(40)])
    for texts, level in ((chance, "watch"), (copied, "act")):
        found = repeated_examples(Evidence("x", texts=texts, measured=[Measured(0)]))
        assert found is not None
        assert found.level == level


@pytest.mark.parametrize(("least", "found"), [(0.3, True), (0.29999, False)])
def test_a_schedule_that_never_moves_the_rate_is_named(least, found):
    rate = np.full(30, 0.3)
    rate[-1] = least
    assert bool(schedule_never_moves(Evidence("x", Setup(scheduled=True), rate=rate))) == found


def measured(number, gradient=1.0, update=0.0, flows=()):
    weight = Weight(
        "w", (2, 2), 1.0, gradient, gradient, update, 0.0, trainable=True, optimized=True,
        decay=None, alike=False, role="matrix", dtype="float32",
    )  # fmt: skip
    return Measured(number, {"w": weight}, flows=list(flows))


def test_a_gradient_may_shrink_but_what_is_computed_stays_in_its_range():
    def step(output, gradient):
        return measured(0, gradient, flows=[Flow("block", 0.0, 1.0, output, 1.0)])

    usual = usual_of([step(1.0, 1.0), step(2.0, 2.0)])
    assert strangers(step(1.5, 1e-3), usual) == []
    assert strangers(step(1e-3, 9.0), usual) == [("block", 1e-3), ("w.grad", 9.0)]


def test_the_first_update_may_be_large():
    """Weights that begin near 0 take their size from it."""
    first, later = measured(0, update=0.5), measured(3, update=0.5)
    assert update_too_large(Evidence("x", measured=[first])) is None
    found = update_too_large(Evidence("x", measured=[first, later]))
    assert found is not None
    assert found.facts[1].value == 0.5


def test_a_nan_in_a_batch_is_not_said_of_the_steps_before_it(tmp_path):
    """Units of a step are counted on batches of later steps too, among them the broken one."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = watch(model, optimizer, tmp_path / "loop", steps=100, tell=lambda s: None)
    for step in range(MIDDLE + 1):
        x, y = torch.randn(8, 4), torch.randint(3, (8,))
        if step == MIDDLE:
            x[0] = torch.nan
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        recorder.log(loss=loss)
    recorder.close()
    [finding] = [f for f in diagnose(recorder) if f.rule == "not-finite"]
    assert finding.step == MIDDLE
