"""The life of a weight against the states of the run it is told of."""

import json
from dataclasses import replace

import pytest

from tests.cli.command import whence
from tests.runs.tiny import RECIPE, RECIPES, finish, make
from whence.errors import WhenceError
from whence.runs.fork import fork
from whence.runs.run import Run
from whence.why.history.biography import biography, biography_cost

NAME = "blocks.0.mlp.up.weight"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("a life") / "run"
    finish(make(path, steps=12))
    return Run.open(path)


def test_it_holds_the_weight_of_every_step(run):
    life = biography(run, f"{NAME}[3,7]", largest=2)
    for step in (0, 1, 5, 7, 12):
        state = run.at(step).model.state_dict()
        assert life.values[step] == state[NAME][3, 7].item()
    assert life.final == run.model("last").state_dict()[NAME][3, 7].item()
    assert life.residual == 0
    assert sum(life.changes) + life.values[0] == pytest.approx(life.final, abs=1e-12)


def test_the_largest_changes_are_opened(run):
    life = biography(run, f"{NAME}[3,7]", largest=2)
    sizes = sorted((abs(change) for change in life.changes), reverse=True)
    assert [abs(turn.change) for turn in life.turns] == sizes[:2]
    for turn in life.turns:
        assert turn.receipt.value == turn.change == life.changes[turn.step]
        assert turn.receipt.verdict in ("exact", "rounded")
        for attribution in (turn.tokens, turn.places):
            added = sum(share.value for share in attribution.shares) + attribution.rounding
            assert added == pytest.approx(turn.change, rel=1e-9)
        assert any("of bottles" in share.label for share in turn.places.shares)


@pytest.mark.parametrize("name", ["adamw", "momentum", "bf16", "accumulation"])
def test_it_adds_up_for_each_kind_of_run(name, tmp_path):
    finish(made := make(tmp_path / "run", replace(RECIPES[name], steps=6)))
    life = biography(Run.open(made.path), f"{NAME}[3,7]", largest=1)
    assert life.residual == 0
    assert any(life.changes)


def test_a_fork_begins_where_it_parts(run, tmp_path):
    child = fork(run, 6, tmp_path / "child", {"optimizer.learning_rate": 1e-3})
    finish(child)
    life = biography(Run.open(child.path), f"{NAME}[3,7]", largest=0)
    assert life.begin == 6
    assert life.values[0] == biography(run, f"{NAME}[3,7]", largest=0).values[6]
    assert len(life.changes) == 6


def test_a_weight_that_never_moves_has_a_life_without_turns(tmp_path):
    change = replace(RECIPE.change, freeze=("embed",))
    finish(made := make(tmp_path / "run", change=change, steps=3))
    life = biography(Run.open(made.path), "embed.weight[3,7]")
    assert set(life.changes) == {0.0}
    assert life.turns == ()


def test_the_command(run, capsys):
    steps, seconds = biography_cost(run, 1)
    assert steps == 12
    assert seconds > 0
    assert whence("biography", run.path, f"{NAME}[3,7]", "--largest", 1) == 0
    printed = capsys.readouterr()
    assert "replaying 12 steps and tracing 1: about" in printed.err
    assert "residual 0: all 12 changes" in printed.out
    assert "▁" in printed.out
    assert "█" in printed.out
    assert whence("biography", run.path, f"{NAME}[3,7]", "--largest", 1, "--json") == 0
    life = json.loads(capsys.readouterr().out)["biography"]
    assert life["schema"] == 1
    assert len(life["changes"]) == 12
    assert life["turns"][0]["receipt"]["address"] == f"{NAME}[3,7].update"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("blocks.0.mlp.up.wight[3,7]", "did you mean blocks.0.mlp.up.weight"),
        (NAME, "give 2 indices"),
        (f"{NAME}[3,'a']", "give 2 indices"),
        (f"{NAME}[3,700]", "index 700 of dimension 1"),
        (f"{NAME}[3,7].grad", "only its name and index"),
    ],
)
def test_what_is_no_weight_is_refused(run, address, words):
    with pytest.raises(WhenceError, match=words):
        biography(run, address)


def test_a_run_without_steps_is_refused(tmp_path):
    with pytest.raises(WhenceError, match="has no steps yet"):
        biography(make(tmp_path / "run"), f"{NAME}[3,7]")
