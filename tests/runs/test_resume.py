"""A run that is resumed has the bits of one that was never stopped."""

import shutil
from dataclasses import replace

import pytest
import torch

from tests.runs.tiny import RECIPE, RECIPES, SIZES, abandon, files, finish, losses, make
from whence.errors import WhenceError
from whence.models import gpt2_config
from whence.runs.recipe import Record
from whence.runs.run import Run
from whence.runs.training.events import Differed, Ended, Evaluated, Saved, Stepped
from whence.runs.upkeep.repair import repair
from whence.train.optimizers import SGDConfig


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_and_resumed_is_unbroken(name, tmp_path):
    unbroken, broken = (make(tmp_path / n, RECIPES[name]) for n in ("unbroken", "broken"))
    finish(unbroken)
    finish(broken, until=7)
    assert Run.open(broken.path).state == "stopped"
    finish(Run.open(broken.path))
    assert losses(broken) == losses(unbroken)
    end = RECIPES[name].steps
    assert len(losses(broken)) == end
    assert files(broken, end) == files(unbroken, end)
    assert [e["loss_hex"] for e in broken.evals] == [e["loss_hex"] for e in unbroken.evals]


def test_killed_between_checkpoints_repeats_the_recorded_bits(tmp_path, whole):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    assert len(run.steps) == 13
    assert Run.open(run.path).checkpoints == [5, 10]
    events = finish(Run.open(run.path))
    assert [e.step for e in events if isinstance(e, Stepped)] == list(range(10, 20))
    assert not any(isinstance(e, Differed) for e in events)
    assert losses(run) == losses(whole)
    assert files(run, 20) == files(whole, 20)
    assert run.evals == whole.evals
    assert run.samples == whole.samples


def test_killed_before_the_first_checkpoint(tmp_path, whole):
    run = make(tmp_path / "run")
    abandon(run, before=3)
    assert Run.open(run.path).state == "stopped"
    finish(run)
    assert losses(run) == losses(whole)


def test_more_steps_change_the_schedule_only_behind_what_is_recorded(tmp_path):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    before = losses(run)
    events = finish(Run.open(run.path), steps=40)
    assert not any(isinstance(e, Differed) for e in events)
    assert losses(run)[:13] == before
    assert len(losses(run)) == 40
    run = Run.open(run.path)
    assert [(s.start, s.steps) for s in run.header.segments] == [(0, 20), (13, 40)]
    assert run.steps[12]["rate"] == pytest.approx(run.recipe.optimizer.learning_rate * 0.8)
    assert run.steps[13]["rate"] == pytest.approx(run.recipe.optimizer.learning_rate)
    assert run.at(24).how_far_off().startswith("4 steps replayed, every loss")
    assert run.at(14).recorded == run.steps[14]["loss"]


def test_a_finished_run_says_so_and_takes_more(own):
    with pytest.raises(WhenceError, match=r"has done its 20 steps\. Give more with --steps"):
        finish(own)
    finish(own, steps=23)
    assert len(own.steps) == 23
    with pytest.raises(WhenceError, match="has done its 23 steps"):
        finish(own, steps=21)


def test_fewer_steps_than_done_are_refused(tmp_path):
    run = make(tmp_path / "run")
    abandon(run, before=13)
    with pytest.raises(WhenceError, match="already done 13 steps: --steps 11 would undo"):
        finish(run, steps=11)


def test_a_second_trainer_is_refused_while_the_first_is_at_work(tmp_path):
    run = make(tmp_path / "run")
    training = run.train()
    next(training)
    assert Run.open(run.path).state == "training"
    with pytest.raises(WhenceError, match="another process is training"):
        finish(Run.open(run.path))
    with pytest.raises(WhenceError, match="another process is training"):
        Run.open(run.path).remove()
    training.close()
    assert Run.open(run.path).state == "new"


def test_another_trajectory_is_told_and_takes_over(tmp_path):
    """As if the machine had changed: the record from the difference on is the new one's."""
    run = make(tmp_path / "run")
    abandon(run, before=14)
    run = Run.open(run.path)
    records = list(run.steps)
    records[12]["loss_hex"] = (9.5).hex()
    run.logs.steps.replace(records)
    events = finish(run)
    [difference] = [e for e in events if isinstance(e, Differed)]
    assert (difference.step, difference.recorded) == (12, 9.5)
    assert [r["step"] for r in run.steps] == list(range(20))
    assert [s.start for s in Run.open(run.path).header.segments] == [0, 12]


def test_early_stopping_ends_at_a_measurement_without_progress(tmp_path):
    record = Record(evaluate_every=2, patience=2, sample_tokens=0, checkpoint_every=100)
    run = make(tmp_path / "run", optimizer=SGDConfig(learning_rate=0.0), record=record, steps=50)
    events = finish(run)
    assert events[-1] == Ended(4, "no longer improving")
    assert run.checkpoints == [4]
    assert len(run.steps) == 4


def test_best_and_last_are_kept_and_can_be_asked_for(tmp_path):
    record = replace(RECIPE.record, keep="last", evaluate_every=4)
    run = make(tmp_path / "run", record=record, optimizer=SGDConfig(learning_rate=3.0), steps=18)
    finish(run)
    usual = [e for e in run.evals if not e["whole"]]
    best = min((e for e in usual if e["step"]), key=lambda e: e["loss"])["step"]
    assert set(run.checkpoints) == {best, 18}
    inside = run.model("best").state_dict()
    assert torch.equal(inside["head.weight"], run.model(best).state_dict()["head.weight"])
    assert not run.model("last").training
    with pytest.raises(WhenceError, match="has no step 19: it has done 18"):
        run.model(19)


def test_the_model_of_any_step_can_be_asked_for(tmp_path):
    run = make(tmp_path / "run", record=replace(RECIPE.record, keep="last"), steps=18)
    finish(run)
    assert 7 not in run.checkpoints
    model = run.model(7)
    assert not model.training
    there = run.at(7).model.state_dict()
    assert all(torch.equal(w, there[name]) for name, w in model.state_dict().items())
    assert run.generate("9", at=7, max_tokens=5) == run.generate("9", at=7, max_tokens=5)


def test_a_run_without_a_checkpoint_has_the_model_of_its_record(tmp_path):
    run = make(tmp_path / "run", steps=18)
    with pytest.raises(WhenceError, match="no checkpoint yet: train it first"):
        run.model()
    finish(run)
    last = run.model("last").state_dict()
    shutil.rmtree(run.checkpoint_folder)
    again = Run.open(run.path)
    with pytest.raises(WhenceError, match=r"000005 is damaged: it is missing"):
        again.model()
    assert len(repair(again)) == 4
    assert not again.checkpoints
    assert all(torch.equal(w, last[name]) for name, w in again.model().state_dict().items())


def test_whole_validation_text_is_measured_at_the_end_beside_the_usual_part(whole):
    last = [e for e in whole.evals if e["step"] == 20]
    assert [(e["tokens"], e["whole"]) for e in last] == [
        (192, False),  # twelve windows of 16 of the 200 tokens asked for
        (len(whole.dataset.validation) - 1, True),
    ]


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path):
    run = make(tmp_path / "run", model=gpt2_config(**SIZES), steps=2)
    finish(run)
    from safetensors import safe_open

    with safe_open(run.path / "checkpoints/000002/model.safetensors", "pt") as file:
        names = set(file.keys())
    assert len({"embed.weight", "head.weight"} & names) == 1
    model = run.model()
    assert model.head.weight is model.embed.weight


def test_not_finite_saves_the_state_before_and_says_where(tmp_path):
    run = make(tmp_path / "run", optimizer=SGDConfig(learning_rate=1e30), steps=10)
    with pytest.raises(WhenceError, match=r"not finite.*saved as checkpoint 00000\d"):
        finish(run)
    assert run.checkpoints[-1] == len(run.steps)


def test_saved_says_only_what_is_on_disk(tmp_path):
    run = make(tmp_path / "run")
    for event in run.train():
        if isinstance(event, Saved):
            assert (run.path / "checkpoints" / f"{event.step:06d}" / "state.json").is_file()
    assert isinstance(event, Ended)
    assert Run.open(run.path).checkpoints == [5, 10, 15, 20]


def test_events_are_what_the_record_holds(whole, tmp_path):
    run = make(tmp_path / "run")
    events = finish(run)
    stepped = [e.to_record() | {"seconds": 0} for e in events if isinstance(e, Stepped)]
    assert stepped == [r | {"seconds": 0} for r in run.steps]
    assert [e.to_record() for e in events if isinstance(e, Evaluated)] == run.evals
