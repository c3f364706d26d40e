"""An optimizer and evaluations of the user's own: trained with, recorded, and gone back to."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.runs.tiny import RECIPE, make
from whence import Run, WhenceError
from whence.runs.training.events import Evaluated
from whence.train import optimizers
from whence.train.optimizers import SGDConfig, add_optimizer
from whence.train.schedules import Schedule
from whence.why import influence


@dataclass(frozen=True)
class RMSProp(SGDConfig):
    """What torch.optim.RMSprop does, written as a user would."""

    learning_rate: float = 0.001
    alpha: float = 0.9

    def update(self, moving):
        """Move the parameters."""
        squares = moving.state("square")
        for param, grad, rate, square in zip(
            moving.params, moving.grads, moving.rates, squares, strict=True
        ):
            square.mul_(self.alpha).addcmul_(grad, grad, value=1 - self.alpha)
            param.addcdiv_(grad, square.sqrt().add_(1e-8), value=-rate)


@pytest.fixture
def added():
    add_optimizer("rmsprop", RMSProp())
    yield
    optimizers.OPTIMIZERS.pop("rmsprop", None)


@pytest.fixture
def run(added, tmp_path) -> Run:
    """A run that learns by it, at one rate."""
    recipe = replace(RECIPE, optimizer=RMSProp(0.01), schedule=Schedule("constant", 0), steps=12)
    return make(tmp_path / "run", recipe)


def test_an_optimizer_of_ones_own_gives_what_torchs_gives(run):
    session = run.session()
    theirs = torch.optim.RMSprop(session.model.parameters(), lr=0.01, alpha=0.9)
    losses = []
    for step in range(12):
        theirs.zero_grad()
        [(_, part)] = session.batches[step]
        loss = session.loss(session.model, part)
        loss.backward()
        theirs.step()
        losses.append(loss.item())
    ours = [event.loss for event in run.train() if hasattr(event, "loss")]
    assert ours == pytest.approx(losses, rel=1e-5)


def test_a_run_with_it_is_opened_resumed_and_gone_back_to(run):
    assert list(run.train(should_stop=lambda: len(run.steps) >= 7))
    again = Run.open(run.path)
    assert again.recipe.optimizer == RMSProp(0.01)
    for _ in again.train():
        pass
    moment = Run.open(run.path).at(9)
    assert moment.loss() == again.steps[9]["loss"]
    assert not moment.differences


def test_no_formula_is_shown_for_it_and_no_window_is_credited(run):
    for _ in run.train():
        pass
    assert Run.open(run.path).at(9).optimizer.settings()["head.weight"]["rule"] == ""
    told = str(Run.open(run.path).at(9).trace().number("head.weight[3,7].update").why())
    assert "m̂" not in told
    assert "−η·g" not in told
    with pytest.raises(WhenceError, match=r"RMSProp is an optimizer of your own.*what-if"):
        influence(Run.open(run.path), "42 bott", "les", step=9)


def test_without_it_the_run_says_what_it_needs(run):
    del optimizers.OPTIMIZERS["rmsprop"]
    with pytest.raises(WhenceError, match=r"'rmsprop' is unknown.*add_optimizer first"):
        Run.open(run.path)


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(WhenceError, match="derive a frozen dataclass"):
        add_optimizer("sgd2", SGDConfig())
    with pytest.raises(WhenceError, match="choose another name"):
        add_optimizer("adamw", RMSProp())


def test_evaluations_of_ones_own_are_recorded_and_change_nothing(tmp_path):
    plain, asked = make(tmp_path / "plain", steps=10), make(tmp_path / "asked", steps=10)

    def norm(model) -> float:
        torch.rand(3)  # draws change nothing either
        return torch.cat([p.flatten() for p in model.parameters()]).norm().item()

    for _ in plain.train():
        pass
    events = [e for e in asked.train(evaluations={"norm": norm}) if isinstance(e, Evaluated)]
    assert [r["loss_hex"] for r in plain.steps] == [r["loss_hex"] for r in asked.steps]
    assert [r["own"]["norm"] for r in asked.evals] == [e.own["norm"] for e in events]
    with torch.no_grad():
        assert events[-1].own["norm"] == norm(asked.model("last"))
    assert "own" not in plain.evals[-1]


def test_an_evaluation_that_moves_a_weight_is_refused(tmp_path):
    run = make(tmp_path / "run", steps=3)

    def careless(model) -> float:
        next(model.parameters()).data.zero_()
        return 0.0

    with pytest.raises(WhenceError, match="this is inference"):
        list(run.train(evaluations={"careless": careless}))
