"""One dial: the usual recipe at its usual depth, and rules that hold at every other."""

import pytest

from whence.cli.training.recipes import parse_training
from whence.errors import WhenceError
from whence.models import GPTConfig, build
from whence.runs.depth import deep
from whence.runs.recipe import Recipe, usual


def test_the_usual_depth_is_the_usual_shape_and_rates():
    asked = deep(Recipe(), 4)
    assert (asked.model, asked.optimizer) == (Recipe().model, Recipe().optimizer)
    assert asked.batch_size == Recipe().batch_size


@pytest.mark.parametrize("kind", ["gpt", "gpt2", "llama", "qwen3"])
def test_every_depth_makes_a_model_that_can_be_built(kind):
    sizes = []
    for depth in (1, 2, 3, 7, 12):
        asked = deep(usual(Recipe(), kind), depth)
        sizes.append(sum(p.numel() for p in build(asked.model, 65).parameters()))
        assert asked.model.n_layers == depth
        n_tokens = asked.steps * asked.tokens_per_step
        assert n_tokens == pytest.approx(20 * 12 * depth * (48 * depth) ** 2, rel=0.02) or depth < 3
    assert sizes == sorted(sizes)


def test_what_is_said_beside_the_dial_stands():
    asked = parse_training(["--depth", "6", "--steps", "70", "--model.d-model", "96"]).recipe
    assert (asked.model.n_layers, asked.model.d_model, asked.steps) == (6, 96, 70)
    assert parse_training(["--depth=2", "--model", "gpt2"]).recipe.model.d_model == 96


@pytest.mark.parametrize("value", ["0", "201", "-1", "deep", "1.5"])
def test_what_is_no_depth_is_refused(value):
    with pytest.raises(WhenceError, match="--depth is"):
        parse_training(["--depth", value])


def test_other_models_have_no_such_dial():
    with pytest.raises(WhenceError, match="for GPTs"):
        parse_training(["--depth", "4", "--model", "lstm"])
    assert isinstance(deep(Recipe(), 5).model, GPTConfig)
