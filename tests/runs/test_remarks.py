"""A recipe that seldom means what it says is remarked on, and a usual one isn't."""

import pytest

from whence import AdamWConfig, MuonConfig, Recipe, Schedule
from whence.models import MODELS
from whence.runs.recipe import usual
from whence.runs.remarks import remarks


@pytest.mark.parametrize("kind", MODELS)
def test_no_usual_recipe_is_remarked_on(kind):
    assert remarks(usual(Recipe(), kind)) == []


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        (Recipe(optimizer=MuonConfig(learning_rate=3e-4)), "it suits adamw"),
        (Recipe(optimizer=AdamWConfig(learning_rate=0.5)), "far above what adamw"),
        (Recipe(optimizer=MuonConfig(learning_rate=1e9)), "far above what muon"),
        (Recipe(schedule=Schedule(warmup=1000), steps=60), "rises to 6% of its peak"),
    ],
)
def test_a_setting_far_from_its_range_is_remarked_on(recipe, word):
    [remark] = remarks(recipe)
    assert word in remark


def test_a_published_form_brings_the_optimizer_that_its_rates_are_given_for():
    for kind in ("gpt2", "llama", "qwen3"):
        assert isinstance(usual(Recipe(), kind).optimizer, AdamWConfig)


def test_a_run_whose_checkpoint_will_not_fit_says_so_before_its_first_step(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    from tests.runs.tiny import make
    from whence import WhenceError

    run = make(tmp_path / "run")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**6, 10**6 - 5000, 5000))
    with pytest.raises(WhenceError, match=r"needs about .* kB of disk and 5\.0 kB are free"):
        next(run.train())
    assert not run.steps


def test_a_removal_takes_what_the_run_made_and_names_what_it_leaves(tmp_path, capsys):
    from tests.cli.command import whence
    from tests.runs.tiny import finish, make

    for name in ("mine", "clean"):
        finish(make(tmp_path / name, steps=2))
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert whence("runs", "remove", tmp_path / "mine", tmp_path / "clean", "--yes") == 0
    assert "left in it, since no run made it: thesis.txt" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]
