"""A sweep trains every combination, goes on where it was stopped, and says only what it knows."""

import json
import math
from pathlib import Path

import pytest

from tests.cli.command import whence
from tests.runs.tiny import RECIPE
from whence import WhenceError
from whence.experiments.training.sweep import Point, Trial, points, settles, sweep


def test_every_combination_is_trained_with_every_seed(tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    text = tmp_path / "text.txt"
    text.write_text("some words and others " * 60)
    recipe = RECIPE.to_dict()
    recipe["data"]["source"] = [str(text)]
    from whence import Recipe

    path.write_text(Recipe.from_dict(recipe).to_toml())
    words = ["sweep", path, "--set", "optimizer.learning-rate=0.01,1e9", "--set", "steps=3"]
    words += ["--seeds", 2, "--out", tmp_path / "sweep", "--json"]
    assert whence(*words) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert len(told["runs"]) == 4
    best = told["points"][0]["settings"]
    assert best["optimizer.learning_rate"] == 0.01
    folder = Path(told["runs"][0]["folder"])
    before = (folder / "steps.jsonl").stat().st_mtime_ns
    assert whence(*words) == 0  # finished runs are kept
    assert (folder / "steps.jsonl").stat().st_mtime_ns == before
    assert json.loads(capsys.readouterr().out)["points"] == told["points"]


def test_a_value_that_does_not_fit_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(WhenceError, match="batch_size is 'x'"):
        next(sweep(RECIPE, {"steps": [1], "batch_size": [4, "x"]}, [0], tmp_path / "sweep"))
    assert not (tmp_path / "sweep").exists()


def trials(**values: list[float]) -> list[Trial]:
    return [
        Trial({"rate": rate}, seed, bits, "diverged" if math.isnan(bits) else "", Path())
        for rate, several in values.items()
        for seed, bits in enumerate(several)
    ]


@pytest.mark.parametrize(
    ("values", "settled"),
    [
        ({"a": [1.0, 1.01, 0.99], "b": [2.0, 2.01, 1.99]}, True),
        ({"a": [1.0, 1.4, 0.6], "b": [1.1, 0.7, 1.5]}, False),
        ({"a": [1.0], "b": [2.0]}, False),  # one seed each can't say
        ({"a": [1.0, 1.2], "b": [1.5, 1.8]}, False),  # two can't either: t is 4.3
        ({"a": [1.0], "b": [math.nan]}, True),
    ],
)
def test_the_best_is_called_so_only_where_the_seeds_settle_it(values, settled):
    best, second = points(trials(**values))
    assert best.settings == {"rate": "a"}
    assert settles(best, second) is settled


def test_means_and_spreads_are_numpys():
    import numpy as np

    [point] = points(trials(a=[1.0, 1.5, 2.5]))
    assert point == Point(
        {"rate": "a"}, np.mean([1.0, 1.5, 2.5]), np.std([1.0, 1.5, 2.5], ddof=1), 0, 3
    )
