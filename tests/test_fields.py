"""Every public configuration refuses a value of another type in one sentence, when it is made."""

from dataclasses import fields

import pytest
import torch

from whence import Data, Hardware, Recipe, Record, Run, Schedule, WhenceError
from whence.fields import fit
from whence.generate.sampling import Sampling
from whence.models import MODELS
from whence.runs.recipe import Change
from whence.train.optimizers import OPTIMIZERS, AdamWConfig

CONFIGS = [Recipe, Data, Record, Change, Schedule, Hardware, Sampling]
CONFIGS += sorted({type(c) for c in (*MODELS.values(), *OPTIMIZERS.values())}, key=str)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_each_field_refuses_an_object_of_another_type(kind):
    for item in fields(kind):
        with pytest.raises(WhenceError, match=rf"{item.name} is .*: (it must be|give) "):
            kind(**{item.name: object()})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 5.0}, r"steps is 5\.0: it must be a whole number"),
        ({"steps": "5"}, "steps is '5': it must be a whole number"),
        ({"steps": True}, "steps is True"),
        ({"steps": 10**20}, r"below 2\^63"),
        ({"steps": 10**6000}, "thousands of digits"),
        ({"model": torch.nn.Linear(1, 1)}, r"model is Linear.*GPTConfig\(\).*whence\.why\.trace"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1)},
            r"optimizer is SGD.*such as SGDConfig\(\)",
        ),
    ],
)
def test_a_recipe_says_what_is_wanted(given, message):
    with pytest.raises(WhenceError, match=message):
        Recipe(**given)


def test_what_can_be_made_can_be_opened_again(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("some words and others " * 60)
    data = Data(source=[str(text)], validation=0.2)  # a list, as from JSON
    recipe = Recipe(data=data, steps=2, schedule=Schedule(final=0), seed=7)
    run = Run.create(recipe, tmp_path / "run")
    assert Run.open(run.path).recipe == run.recipe


def test_whole_numbers_become_floats_where_floats_are_wanted():
    assert isinstance(fit(1, float | None, "rate"), float)
    assert fit(None, float | None, "rate") is None


def test_a_recipe_of_0_1_has_its_betas_under_names_of_their_own():
    tree = Recipe(optimizer=AdamWConfig()).to_dict()
    del tree["optimizer"]["betas"]
    tree["optimizer"] |= {"beta1": 0.8, "beta2": 0.99}
    assert Recipe.from_dict(tree).optimizer == AdamWConfig(betas=(0.8, 0.99))
