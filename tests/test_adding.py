"""The pages on how to add something are kept true: what each adds is used as a user would."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.cli.command import whence as command
from tests.runs.tiny import RECIPE, finish, make
from whence import Recipe, Run
from whence.experiments.table import EXPERIMENTS, experiment
from whence.fields import hints_of
from whence.models import build
from whence.models.kinds import KINDS, MODELS, Kind
from whence.train.optimizers import OPTIMIZERS
from whence.train.schedules import Schedule
from whence.why import balance

GUIDE = Path(__file__).parents[1] / "docs/guide"


def blocks(page: str) -> list[str]:
    text = (GUIDE / f"add-{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def module(monkeypatch, name: str, code: str) -> types.ModuleType:
    """A module of the page's code that is gone after the test."""
    made = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(code, name, "exec"), vars(made))
    return made


def test_a_model(monkeypatch, tmp_path):
    file, row = blocks("model")
    made = module(monkeypatch, "whence.models.small.last_two", file)
    known = {"Kind": Kind, **vars(made)}
    exec(row, known)
    monkeypatch.setitem(KINDS, "last-two", known["row"])
    monkeypatch.setitem(MODELS, "last-two", known["row"].config)
    hints = hints_of(Recipe)  # what `ModelConfig` says
    monkeypatch.setitem(hints, "model", hints["model"] | made.LastTwoConfig)
    run = make(tmp_path / "mine", RECIPE, model=made.LastTwoConfig(16), steps=6)
    finish(run)
    assert 'kind = "last-two"' in (run.path / "run.toml").read_text()
    again = Run.open(run.path)
    assert again.recipe.model == made.LastTwoConfig(16)
    model, tokens = again.model("last"), torch.tensor([[1, 2, 3]])
    near, far = model.near.weight, model.far.weight
    torch.testing.assert_close(model(tokens)[0, 2], near[3] + far[2])
    assert not balance(again.at(3).trace(), numbers=40, each=20).wrong
    assert build(MODELS["last-two"], 5)(tokens).shape == (1, 3, 5)


def test_an_optimizer(monkeypatch, tmp_path):
    (code,) = blocks("optimizer")
    try:
        made = module(monkeypatch, "added_optimizer", code)
        recipe = {"optimizer": made.AdagradConfig(0.1), "schedule": Schedule("constant", 0)}
        run = make(tmp_path / "mine", RECIPE, steps=6, **recipe)
        session = run.session()
        theirs = torch.optim.Adagrad(session.model.parameters(), lr=0.1)
        losses = []
        for step in range(6):
            theirs.zero_grad()
            [(_, part)] = session.batches[step]
            loss = F.cross_entropy(session.model(part.inputs).flatten(0, 1), part.targets.flatten())
            loss.backward()
            theirs.step()
            losses.append(loss.item())
        ours = [event.loss for event in finish(run) if hasattr(event, "loss")]
        assert ours == pytest.approx(losses, rel=1e-4)
        assert not balance(Run.open(run.path).at(3).trace(), numbers=40, each=20).wrong
    finally:
        OPTIMIZERS.pop("adagrad", None)


def test_an_experiment(monkeypatch, capsys):
    code, row = blocks("experiment")
    module(monkeypatch, "whence.experiments.coin", code)
    known: dict = {}
    exec(row, known)
    for name, found in known["row"].items():
        monkeypatch.setitem(EXPERIMENTS, name, found)
    report = experiment("coin")(seeds=range(8), steps=100)
    torch.default_generator.manual_seed(3)
    assert report.data["heads"][3] == pytest.approx((torch.rand(100) < 0.5).float().mean().item())
    assert report.answer == "About half of the time."
    assert command("experiment", "coin", "--seeds", 4, "--steps", 50) == 0
    assert "How often does a fair coin show heads?" in capsys.readouterr().out
