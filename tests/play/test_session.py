"""Play sessions against the mission's figures, torch in float64, and themselves."""

import numpy as np
import pytest
import torch

from whence.data.made.points import SHAPES, points
from whence.errors import WhenceError
from whence.models.small.line import COFFEE_SHOP
from whence.models.small.mlp import MLP
from whence.play import Session, at, setup
from whence.play.opened import Opened
from whence.play.setup import weights


def numbers(session):
    return {name: p.data for name, p in session.named.items()}


def test_hand_network_of_one_sample():
    found = at(0, "one")
    opened = Opened(found)
    slopes = {name: opened.receipt(name, "gradient").value for name in ("w1", "b1", "w2", "b2")}
    assert slopes == {"w1": -6.0, "b1": -3.0, "w2": -2.0, "b2": -2.0}
    assert opened.named["ŷ"].data == 2.0
    assert opened.loss.data == 2.0
    found.go_to(1)
    assert numbers(found) == pytest.approx({"w1": 2.6, "b1": -2.7, "w2": 1.7, "b2": 0.7})
    opened = Opened(found)
    assert opened.named["ŷ"].data == pytest.approx(4.95)
    assert opened.loss.data == pytest.approx(0.45125)


def test_hand_network_of_three_samples_and_its_death():
    found = at(15, "three")
    assert [f"{x:.4f}" for x in found.means] == ["2.6130", "6.3838", "3.9888", "2.7419", "2.0981"]
    assert {k: f"{v:.5f}" for k, v in numbers(found).items() if k != "b2"} == {
        "w1": "0.95605",
        "b1": "-3.25548",
        "w2": "0.12163",
    }
    predictions = found.tensors()(torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64))
    assert [f"{x:.4f}" for x in predictions[:, 0].tolist()] == ["3.1174"] * 3
    death = found.dead[0, 0]
    assert death.step == 3
    assert "w1" in death.why
    assert death.receipt is not None
    assert abs(death.receipt.residual) <= death.receipt.bound
    alive = at(1500, "three", rate=0.09)
    assert not alive.dead
    assert alive.means[-1] < 1e-6


def test_hand_network_of_two_features():
    found = at(30, "two-features")
    shown = [f"{x:.5f}" for x in found.means]
    assert shown[:3] == ["0.42550", "0.00767", "0.01366"]
    assert shown[-1] == "0.00452"
    x = torch.tensor([[1.0, 0], [2, 0], [3, 0]], dtype=torch.float64)
    assert [f"{p:.4f}" for p in found.tensors()(x)[:, 0].tolist()] == ["1.8685", "3.8942", "5.9198"]
    assert found.named["w1[2]"].data == 0.5


def test_coffee_shop_reaches_least_squares():
    found = at(300, "coffee")
    x, y = np.array(COFFEE_SHOP[1]).T
    change, start = np.polyfit(x, y, 1)
    W, b = found.model.layers[0]
    fit = found.samples.scale.fit(b[0, 0].data, [W[0, 0].data])
    assert fit.start == pytest.approx(start, rel=1e-9)
    assert fit.change[0] == pytest.approx(change, rel=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1)),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_points_train_as_torch_does(optimizer, make, activation):
    chosen = setup("moons", optimizer=optimizer, activation=activation, rate=0.1, hidden=(4, 3))
    session = Session(chosen)
    session.go_to(60)
    layers = [
        tuple(torch.tensor(m, dtype=torch.float64, requires_grad=True) for m in layer)
        for layer in weights(chosen)
    ]
    model, losses = MLP(layers, activation), []
    stepper = make(model.parameters())
    for step in range(60):
        rows = session.chosen(step)
        x = torch.tensor([session.samples.x[i] for i in rows], dtype=torch.float64)
        y = torch.tensor([[session.samples.y[i]] for i in rows], dtype=torch.float64)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    assert session.losses == pytest.approx(losses, rel=1e-9)
    theirs = [x for p in model.parameters() for x in p.detach().flatten().tolist()]
    assert [p.data for p in session.parameters] == pytest.approx(theirs, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_state_is_a_function_of_the_step(optimizer):
    walked = Session(setup("xor", optimizer=optimizer, activation="relu"))
    for step in (130, 7, 64, 99, 3, 120):
        walked.go_to(step)
        straight = at(step, "xor", optimizer=optimizer, activation="relu")
        assert numbers(walked) == numbers(straight)
        assert walked.losses == straight.losses
        assert (walked.means, walked.held) == (straight.means, straight.held)
        assert walked.dead == straight.dead
        before = numbers(walked)
        Opened(walked)
        assert numbers(walked) == before


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_updates_are_those_that_are_shown(optimizer):
    session = Session(setup("circles", optimizer=optimizer))
    session.go_to(20)
    opened = Opened(session, example=2)
    receipts = [opened.receipt(name, "update") for name in session.named]
    loss = opened.loss.data
    session.go_to(21)
    assert session.losses[-1] == loss
    assert {r.address: r.value for r in receipts} == numbers(session)
    for receipt in receipts:
        assert abs(receipt.residual) <= receipt.bound
        assert all(opened.line(o) for o in opened.operations[:5])


def test_edits_are_steps_of_the_story():
    edited = at(40, "xor", edits=["20:w1[1,2]=-0.5", "30:rate=0.01"])
    plain = at(20, "xor")
    assert edited.losses[:20] == plain.losses
    assert edited.losses[20] != at(21, "xor").losses[20]
    assert edited.optimizer.learning_rate == 0.01
    edited.go_to(29)
    assert edited.optimizer.learning_rate == 0.3
    edited.go_to(20)
    assert edited.named["w1[1,2]"].data == -0.5
    killed = at(0, "three", edits=["0:b1=-99"])
    assert "from the beginning" in killed.dead[0, 0].why


@pytest.mark.parametrize("shape", SHAPES)
def test_points_are_seeded_and_can_be_told_apart(shape):
    assert points(shape, 60, seed=3) == points(shape, 60, seed=3)
    assert points(shape, 60, seed=3) != points(shape, 60, seed=4)
    clean = points(shape, 400, noise=0.0)
    x, y = np.array(clean.x), np.array(clean.y)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2) + 9 * np.eye(400)
    assert (y[distance.argmin(1)] == y).mean() > 0.97  # the nearest neighbour is of one's class


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": "moon"}, "unknown data 'moon'"),
        ({"hidden": (99,)}, "at most 6 layers"),
        ({"rate": 0.0}, "rate is 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
        ({"data": "moons", "features": ("x9",)}, "a feature"),
        ({"data": "moons", "samples": 1}, "samples is 1"),
        ({"edits": ["0:w9=1"]}, "no weight 'w9'"),
        ({"edits": ["w1=1"]}, "isn't an edit"),
        ({"edits": ["0:w1=inf"]}, "isn't an edit"),
        ({"step": 10**6}, "out of reach"),
    ],
)
def test_refusals(arguments, said):
    with pytest.raises(WhenceError, match=said):
        at(**{"step": 0, **arguments})
