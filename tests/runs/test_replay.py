"""Going back to any step, to the bit, and what is said where that isn't possible."""

from dataclasses import replace

import pytest
import torch

from tests.runs.tiny import RECIPES, abandon, finish, make, same, sign
from whence import Run
from whence.errors import WhenceError
from whence.runs.replay import ReplayError, estimate


@pytest.mark.parametrize("name", RECIPES)
def test_every_step_is_had_again_to_the_bit(name, tmp_path):
    """What training held in memory at step 8 is what `at(8)` gives."""
    run = make(tmp_path / "run", RECIPES[name])
    session = run.session()
    from whence.train.loop import train

    with session.stepping():
        for _ in train(session.forward, session.batches, session.loss, session.optimizer, range(8)):
            pass
    finish(run)
    for folder in (run.path / "checkpoints").iterdir():
        if folder.name not in ("000005",):
            folder.rename(run.path / folder.name)
    sign(run)
    moment = Run.open(run.path).at(8)
    assert moment.replayed == 3
    assert same(moment.model.state_dict(), session.model.state_dict())
    assert same(moment.optimizer.state_dict(), session.optimizer.state_dict())
    for (weight, part), (w, p) in zip(moment.batch, session.batches[8], strict=True):
        assert weight == w
        assert torch.equal(part.inputs, p.inputs)
    assert moment.optimizer.index == 8


def test_a_moment_has_what_a_trace_needs(whole):
    moment = whole.at(7)
    assert moment.step == 7
    assert moment.loss() == pytest.approx(moment.recorded, rel=1e-6)
    assert moment.recorded == float.fromhex(whole.steps[7]["loss_hex"])
    assert moment.dataset.train is whole.dataset.train
    assert moment.tokenizer.decode(moment.batch[0][1].inputs[0].tolist())
    assert moment.advance() == moment.run.steps[7]["loss"]
    assert moment.step == 8


def test_the_end_is_a_state_without_a_step(whole):
    moment = whole.at(20)
    assert moment.recorded is None
    assert moment.replayed == 0
    assert same(moment.model.state_dict(), whole.model("last").state_dict())


def test_the_start_is_the_first_draw(whole):
    moment = whole.at(0)
    assert same(moment.model.state_dict(), whole.session().model.state_dict())


@pytest.mark.parametrize("step", [-1, 21, 10**30])
def test_steps_outside_the_run(whole, step):
    with pytest.raises(WhenceError, match=r"has no step .*: it has done the steps 0 to 19"):
        whole.at(step)


def test_a_run_without_a_step(tmp_path):
    with pytest.raises(WhenceError, match="has no steps yet: train it first"):
        make(tmp_path / "run").at(1)


def tamper(run: Run, step: int, loss: float) -> Run:
    records = list(run.steps)
    records[step] |= {"loss": loss, "loss_hex": loss.hex()}
    run.logs.steps.replace(records)
    sign(run)
    return Run.open(run.path)


def test_the_first_difference_stops_with_both_losses_and_a_reason(own):
    run = tamper(own, 7, 1.25)
    with pytest.raises(ReplayError) as caught:
        run.at(9)
    said = str(caught.value)
    assert "step 7 gives the loss" in said
    assert "the record says 1.25" in said
    assert "nothing the manifest knows of has changed" in said
    assert caught.value.difference.replayed == pytest.approx(own.at(7).recorded, abs=4)


def test_the_reason_is_what_the_manifest_shows(own):
    [segment] = own.header.segments
    old = {**segment.manifest, "torch": "1.0.0", "threads": 64}
    own.header.segments = [replace(segment, manifest=old)]
    own.header.write(own.path)
    with pytest.raises(ReplayError, match=r"torch was 1\.0\.0 and is .*; threads was 64 and is 1"):
        tamper(own, 7, 1.25).at(9)


def test_approximate_goes_on_and_says_how_far_off(own):
    run = tamper(tamper(own, 6, 1.25), 8, 100.0)
    moment = run.at(10, approximate=True)  # the checkpoint of 10 itself needs no replay
    assert moment.differences == []
    moment = run.at(9, approximate=True)
    assert [d.step for d in moment.differences] == [6, 8]
    said = moment.how_far_off()
    assert "2 of 4 replayed losses differ, the first at step 6" in said
    assert "at step 8" in said


def test_an_estimate_is_had_before(whole):
    steps, seconds = estimate(whole, 9)
    assert steps == 4
    assert 0 < seconds < 60


def test_another_thread_count_is_noticed_or_exact(own):
    """The recipe's own thread count is used, whatever the process had before."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert own.at(9).replayed == 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_damaged_checkpoint_is_named_with_the_way_out(own):
    weights = own.path / "checkpoints/000005/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(WhenceError, match=r"000005.model.safetensors is damaged.*--repair"):
        own.at(7)


def test_a_moment_changes_nothing_on_disk(tmp_path):
    run = make(tmp_path / "run")
    abandon(run, before=8)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    run.at(7).advance()
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before


def test_a_traced_step_has_the_recorded_bits(whole):
    """The recorder changes nothing: the same loss, and the same weights behind the update."""
    moment, plain = whole.at(7), whole.at(8)
    recorded = moment.recorded
    trace = moment.trace()
    assert trace["loss"].value == recorded
    assert moment.step == 8
    assert same(moment.model.state_dict(), plain.model.state_dict())
    assert same(moment.optimizer.state_dict(), plain.optimizer.state_dict())
