"""Faults whose symptoms have other names: the cause is told first, and sound ones stay silent."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.doctor.loops import MIDDLE, Tiny, text
from whence.doctor import Evidence, diagnose
from whence.doctor.evidence import Probes, Setup, Texts
from whence.doctor.measuring.measured import Measured, Weight
from whence.doctor.measuring.predicted import Caught, predicted
from whence.doctor.measuring.watching import Watching
from whence.doctor.probing import _tail
from whence.doctor.rules.loss import not_learning, too_good_too_early
from whence.doctor.rules.validation import stopped_early
from whence.doctor.texts import look_at_sizes
from whence.watch import watch


def points(n, generator):
    y = torch.randint(3, (n,), generator=generator)
    return 2 * F.one_hot(y, 8) + torch.randn(n, 8, generator=generator), y


def train(out, model, optimizer, batch, fault="", steps=60):
    """Train on (x, y) = batch() with a fault of the loop."""
    recorder = watch(model, optimizer, out, steps=200, memory=10**9, tell=lambda s: None)
    with contextlib.closing(recorder):
        for step in range(steps):
            x, y = batch()
            if fault == "huge" and step == MIDDLE:
                x[5] *= 1000
            logits = model(x).flatten(0, -2)
            loss = F.cross_entropy(logits, y.flatten())
            if fault == "z-loss":
                loss = loss - 0.02 * logits.logsumexp(-1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            if fault == "clipped":
                nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
            optimizer.step()
            recorder.log(loss=loss)
    return recorder


def layers(function=nn.Tanh, times=1.0, bias=None):
    torch.manual_seed(0)
    sizes = [8, 32, 32, 32, 32]
    parts = [p for a, b in pairwise(sizes) for p in (nn.Linear(a, b), function())]
    model = nn.Sequential(*parts, nn.Linear(32, 3))
    with torch.no_grad():
        for linear in [m for m in model if isinstance(m, nn.Linear)]:
            linear.weight.mul_(times)
            if bias is not None and linear is not model[-1]:
                linear.bias.fill_(bias)
    return model


def of_points(out, fault="", rate=0.1, **drawn):
    model, generator = layers(**drawn), torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return diagnose(train(out, model, optimizer, lambda: points(16, generator), fault))


def of_tokens(out, fault=""):
    torch.manual_seed(0)
    model, generator = Tiny(), torch.Generator().manual_seed(1)
    if fault == "large queries":
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name.endswith((".q.weight", ".k.weight")):
                    p.mul_(200)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)

    def batch():
        rows = text(8, generator)
        return rows[:, :-1], rows[:, 1:]

    return diagnose(train(out, model, optimizer, batch, fault))


def test_sound_ones_give_no_alarm(tmp_path):
    for found in (of_points(tmp_path / "a"), of_tokens(tmp_path / "b")):
        assert not [f for f in found if f.level == "act"], str(found)


CAUSES = {
    "z-loss": (of_tokens, {"fault": "z-loss"}, "logit-drift"),
    "large queries": (of_tokens, {"fault": "large queries"}, "attention-collapse"),
    "clipped": (of_points, {"fault": "clipped"}, "update-too-small"),
    "far biases": (of_points, {"bias": 30.0}, "saturated-units"),
    "small weights": (of_points, {"times": 0.01, "function": nn.ReLU}, "poor-start"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_told_first(tmp_path, cause):
    train_, given, rule = CAUSES[cause]
    found = train_(tmp_path / "loop", **given)
    assert [(f.rule, f.level) for f in found][:1] == [(rule, "act")], str(found)


def test_what_clipping_multiplied_by_is_told(tmp_path):
    finding = of_points(tmp_path / "loop", "clipped").worst
    assert finding is not None
    [fact] = [f for f in finding.facts if "multiplied" in f.what]
    assert 1e-11 < float(fact.value) < 1e-7
    assert "clipped" in finding.verdict


def test_an_example_of_another_size_is_named_though_it_is_predicted_well(tmp_path):
    found = of_points(tmp_path / "loop", "huge", function=nn.ReLU)
    [finding] = [f for f in found if f.rule == "poisoned-rows"]
    assert (finding.step, finding.level) == (MIDDLE, "watch")
    assert "example 5 " in finding.verdict


def test_inputs_that_are_spread_widely_are_no_strangers():
    spread, far, bounded = Texts(), Texts(), Texts()
    rng = np.random.default_rng(0)
    batches = [np.exp(4 * rng.standard_normal((16, 1))) * np.ones((1, 4)) for _ in range(60)]
    look_at_sizes(spread, batches, range(60))
    assert not spread.far_inputs
    look_at_sizes(bounded, [rng.random((16, 4)) for _ in range(60)], range(60))
    assert not bounded.far_inputs
    batches = [rng.standard_normal((16, 4)) for _ in range(60)]
    batches[7][3] *= 1000
    batches[9][2] = np.nan
    look_at_sizes(far, batches, range(100, 160))
    assert {step: example for step, (example, _) in far.far_inputs.items()} == {107: 3}


@pytest.mark.parametrize("c", [0.0, 0.02, -0.02, -1e-3])
def test_what_drives_ln_z_is_the_loss_s_slope_along_all_logits(c):
    torch.manual_seed(0)
    y = torch.randint(7, (5,))
    logits = (3 * torch.randn(5, 7) + 4).requires_grad_()

    def loss(x):
        return F.cross_entropy(x, y) + c * x.logsumexp(-1).square().mean()

    logits.retain_grad()
    loss(logits).backward()
    found = predicted([Caught((), {}, logits)])
    assert found is not None
    assert found.known
    assert (found.targets == y.numpy()).all()
    assert found.losses == pytest.approx(F.cross_entropy(logits, y, reduction="none").tolist())
    assert found.weights == pytest.approx([0.2] * 5, rel=1e-3)
    shift = torch.zeros(5, 1, dtype=torch.float64, requires_grad=True)  # ln Z is above 0 here
    loss(logits.detach().double() + shift).backward()
    assert logits.grad is not None
    assert shift.grad is not None
    wanted = -float(shift.grad.sum()) / float(logits.grad.abs().sum())
    assert found.away == pytest.approx(wanted, abs=1e-6)


def test_a_head_that_reads_one_token_to_the_bit_is_seen():
    """Weights of the other tokens are 0 then, as are those of tokens that it may not read."""
    torch.manual_seed(0)
    q, k = 1e3 * torch.randn(2, 2, 9, 4), 1e3 * torch.randn(2, 2, 9, 4)
    model = nn.Linear(1, 1)
    later = torch.ones(9, 9, dtype=torch.bool).triu(1)
    for factor, entropy, collapsed in ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0)):
        with Watching(model).on() as watching:
            (factor * (q @ k.mT)).masked_fill(later, -torch.inf).softmax(-1)
        assert watching.readings[0].entropy == pytest.approx(entropy, abs=0.02)
        assert watching.readings[0].collapsed == collapsed


@pytest.mark.parametrize("steps", [25, 60, 400])
def test_a_run_that_ends_on_a_slope_was_stopped_early_and_one_that_settled_was_not(steps):
    t = np.linspace(0, 1, steps)
    line, settled, short_line = 3 - 1.5 * t, 1 + 2 * np.exp(-4 * t), 3 - 0.3 * t
    noise = 0.03 * np.random.default_rng(0).standard_normal(steps)
    found = [stopped_early(Evidence("x", loss=x + noise)) for x in (line, settled, short_line)]
    assert [f is not None for f in found] == [True, False, False]


def test_a_loss_that_barely_falls_after_few_small_updates_may_yet_learn():
    def step(number, ratio):
        weight = Weight("w", (4, 4), 1.0, 1.0, 0.1, ratio, 0.0, True, True, None, False, "matrix",
                        "float32")  # fmt: skip
        return Measured(number, weights={"w": weight})

    for slope, ratio, level in ((0.01, 1e-3, "watch"), (0.01, 1e-1, "act"), (0, 1e-3, "act")):
        loss = 3.0 - slope * np.linspace(0, 1, 60)
        found = not_learning(Evidence("x", loss=loss, measured=[step(0, ratio), step(9, ratio)]))
        assert found is not None
        assert found.level == level


def test_a_low_loss_is_not_held_against_a_model_that_cannot_see_its_targets():
    loss = np.concatenate([np.linspace(3, 0.2, 20), np.full(80, 0.1)])
    texts = Texts(target_entropy=2.8, tokens=500, shift=1)
    for ahead, found in ((0.0, False), (0.3, True), (None, True)):
        evidence = Evidence("x", Setup("tokens"), loss=loss, texts=texts, probes=Probes(ahead))
        assert (too_good_too_early(evidence) is not None) is found


def test_a_text_that_repeats_itself_is_not_padded():
    """Rows that end in runs are padded only where nothing else repeats itself as long."""
    padded = torch.tensor([[5, 6, 6, 7, 1, 1, 1], [8, 5, 7, 6, 5, 1, 1], [5, 5, 8, 1, 1, 1, 1]])
    assert _tail(padded).sum(1).tolist() == [3, 2, 4]
    stuttering = padded.clone()
    stuttering[1] = torch.tensor([8, 8, 8, 8, 5, 1, 1])
    assert not _tail(stuttering).any()
