"""Forks share a past and part at a step; comparisons find where."""

import pytest
import torch

from tests.runs.tiny import SIZES, TEXT, files, finish, losses, make, same
from whence.errors import WhenceError
from whence.models import GPTConfig
from whence.runs.compare import compare
from whence.runs.fork import fork
from whence.runs.run import Run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "fork"


def test_a_fork_without_change_has_the_bits_of_its_parent(whole, out):
    child = fork(whole, 8, out)
    assert child.checkpoints == [8]
    assert len(child.steps) == 8
    finish(Run.open(out))
    assert losses(child) == losses(whole)
    assert files(child, 20) == files(whole, 20)
    result = compare(whole, child)
    assert result.first_difference is None
    assert result.recipe == []
    assert result.same_text


def test_another_rate_parts_one_step_later(whole, out):
    child = fork(whole, 8, out, {"optimizer.learning-rate": 1e-4})
    finish(child)
    assert child.recipe.optimizer.learning_rate == 1e-4
    result = compare(whole, child)
    assert result.first_difference == 9  # the loss of step 8 is that of the shared state
    assert result.recipe == [
        ("optimizer.learning_rate", whole.recipe.optimizer.learning_rate, 0.0001)
    ]
    assert "forked from whole at step 8: optimizer.learning_rate: 0.03 → 0.0001" in result.origin
    assert child.steps[8]["rate"] == pytest.approx(1e-4)
    assert Run.open(out).at(13).replayed == 3


def test_a_skipped_batch_is_never_trained_on(whole, out):
    child = fork(whole, 8, out, {"change.skip_batches": [8]})
    finish(child)
    assert child.steps[8]["loss_hex"] != whole.steps[8]["loss_hex"]
    moment = child.at(8)
    assert torch.equal(moment.batch[0][1].inputs, whole.at(9).batch[0][1].inputs)
    assert same(moment.model.state_dict(), whole.at(8).model.state_dict())


def test_a_frozen_module_stays(whole, out):
    child = fork(whole, 8, out, {"change.freeze": ["blocks.0.mlp", "embed.weight"]})
    finish(child)
    before, after = whole.at(8).model.state_dict(), child.model("last").state_dict()
    for name, weight in after.items():
        still = name.startswith("blocks.0.mlp") or name == "embed.weight"
        assert torch.equal(weight, before[name]) == still, name
    assert child.at(12).how_far_off().startswith("2 steps replayed, every loss")


def test_an_edited_weight(whole, out):
    child = fork(whole, 8, out, weights={"blocks.0.mlp.up.weight[3,7]": 0.5, "head.weight[1]": 0.0})
    edited = child.at(8).model.state_dict()
    original = whole.at(8).model.state_dict()
    assert edited["blocks.0.mlp.up.weight"][3, 7] == 0.5
    assert not edited["head.weight"][1].any()
    changed = (edited["blocks.0.mlp.up.weight"] != original["blocks.0.mlp.up.weight"]).sum()
    assert changed == 1
    assert "weight blocks.0.mlp.up.weight[3,7] = 0.5" in child.origin.changes


def test_an_edit_by_a_function(whole, out):
    child = fork(whole, 8, out, edit=lambda model: model.head.weight.data.zero_())
    assert not child.at(8).model.head.weight.any()
    finish(child)
    assert compare(whole, child).first_difference == 8


def test_another_text_with_the_same_tokenizer(whole, out, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1], encoding="utf-8")
    child = fork(whole, 8, out, {"data.source": [str(other)]})
    finish(child)
    assert child.dataset.tokens_sha256 != whole.dataset.tokens_sha256
    assert child.tokenizer.vocab_size == whole.tokenizer.vocab_size
    assert not compare(whole, child).same_text


def test_more_steps_batch_seed_precision_and_dropout_can_change(whole, out):
    child = fork(
        whole,
        8,
        out,
        {
            "steps": 12,
            "batch_size": 2,
            "seed": 9,
            "hardware.precision": "bf16",
            "model.dropout": 0.1,
            "schedule.kind": "cosine",
        },
    )
    finish(child)
    assert len(child.steps) == 12
    assert child.at(11).replayed == 3  # 8 and 12 are near enough without 10


def test_a_fork_at_the_start_and_at_the_end(whole, tmp_path):
    first = fork(whole, 0, tmp_path / "first", {"seed": 1})
    assert first.checkpoints == [0]
    finish(first)
    assert same(first.at(0).model.state_dict(), whole.at(0).model.state_dict())
    last = fork(whole, 20, tmp_path / "last", {"steps": 24})
    finish(last)
    assert len(last.steps) == 24


def test_a_fork_of_a_fork(whole, tmp_path):
    child = fork(whole, 8, tmp_path / "child", {"optimizer.learning_rate": 0.01})
    finish(child)
    grandchild = fork(child, 14, tmp_path / "grandchild", {"seed": 3})
    finish(grandchild)
    assert losses(grandchild)[:14] == losses(child)[:14]
    assert grandchild.origin.run == str(child.path)


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        (8, {"model.d_model": 32}, "weights don't fit.*embed.weight is .* and would be"),
        (8, {"model.n_layers": 2}, "weights don't fit.*blocks.1.* is absent"),
        (8, {"data.tokenizer": "bytes"}, "data.tokenizer can't change in a fork"),
        (8, {"data.validation": 0.2}, "data.validation can't change in a fork"),
        (8, {"optimizer.kind": "adamw"}, "optimizer.kind can't change in a fork"),
        (8, {"optimizer.learning": 1.0}, "did you mean learning_rate"),
        (8, {"optimizer.learning_rate": "fast"}, "must be a number"),
        (8, {"steps": 8}, "a fork at step 8 needs more than 8 steps"),
        (20, {}, "a fork at step 20 needs more than 20 steps"),
        (21, {"steps": 30}, "has no step 21"),
        (8, {"change.freeze": ["blocks.7"]}, "nothing called blocks.7"),
        (8, {"change.freeze": ["embed", "blocks", "head"]}, "leaves nothing to train"),
        (8, {"change.skip_batches": [-1]}, "batches count from 0"),
        (8, {"hardware.device": "toaster"}, "must be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(whole, out, step, changes, said):
    with pytest.raises(WhenceError, match=said):
        fork(whole, step, out, changes)
    assert not out.exists()
    assert not list(out.parent.glob(".*part"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("blocks.0.mlp.upp.weight", "did you mean blocks.0.mlp.up.weight"),
        ("head.weight[0,99]", r"leads outside head.weight, whose sizes are \["),
        ("head.weight[0,0,0]", "leads outside"),
        ("head.weight[-1,0]", "no weight"),
    ],
)
def test_addresses_that_name_nothing(whole, out, address, said):
    with pytest.raises(WhenceError, match=said):
        fork(whole, 8, out, weights={address: 0.0})


def test_the_shared_past_is_asked_of_the_parent(whole, out):
    child = fork(whole, 8, out)
    with pytest.raises(WhenceError, match=r"step 3 of .* belongs to .*, from which it was forked"):
        child.at(3)


def test_a_fork_that_lost_its_root_says_so(whole, out):
    child = fork(whole, 8, out)
    (out / "checkpoints/000008/state.json").unlink()
    with pytest.raises(WhenceError, match="A fork can't start without its first checkpoint"):
        finish(child)


def test_the_root_is_kept_by_every_policy(whole, out):
    child = fork(whole, 8, out, {"record.keep": "last"})
    finish(child)
    assert child.checkpoints[0] == 8


def test_curves_and_samples(whole, tmp_path):
    other = make(tmp_path / "other", model=GPTConfig(**SIZES), steps=10)
    finish(other)
    result = compare(whole, other, points=5)
    assert [step for step, _, _ in result.curves] == [4, 8, 12, 16, 20]
    assert result.curves[-1][2] is None
    assert result.curves[0][1] == pytest.approx(sum(r["loss"] for r in whole.steps[:4]) / 4)
    assert result.bits_per_byte[0] == min(e["bits_per_byte"] for e in whole.evals)
    assert result.samples[0] == whole.samples[-1]["text"]
