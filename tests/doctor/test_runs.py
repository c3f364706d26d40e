"""Runs of `whence train`: what a recipe or a text does wrong, found in its folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.runs.tiny import CPU, LABEL_SOURCE, RECIPE, finish
from whence import Run
from whence.cli import main
from whence.data import text_source
from whence.doctor import RULES, Finding, Rule, around, diagnose
from whence.doctor.evidence import NEEDS
from whence.doctor.of_run import evidence_of_run
from whence.errors import WhenceError
from whence.models import ClassifierConfig, GPTConfig, MLPConfig
from whence.runs.recipe import Change, Data, Record
from whence.train.optimizers import AdamWConfig, SGDConfig
from whence.train.schedules import Schedule

RNG = np.random.default_rng(0)
WORDS = ["the", "owl", "sees", "a", "hen", "and", "sleeps", "by", "day", "near", "old", "barn"]
TEXT = " ".join(RNG.choice(WORDS, 4000))
SOURCE = text_source("words", lambda: [TEXT])
UNHURRIED = 600.0  # seconds: a busy machine measures as much as a quiet one
SOUND = replace(
    RECIPE,
    data=Data(source=("words",)),
    model=GPTConfig(n_layers=2, n_heads=2, d_model=32, context_length=24),
    optimizer=AdamWConfig(learning_rate=3e-3),
    hardware=CPU,
    record=Record(evaluate_every=20, evaluate_tokens=500, sample_tokens=0, checkpoint_every=20),
    batch_size=8,
    steps=80,
)


def trained(path, recipe=SOUND, source=SOURCE):
    run = Run.create(recipe, path, source)
    try:
        finish(run)
    except WhenceError:
        assert run.steps is not None
    return Run.open(path)


def rules(run):
    return [f.rule for f in diagnose(run, seconds=UNHURRIED)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "sound")


def test_nothing_is_found_in_a_sound_run_and_it_says_on_what(sound):
    found = sound.diagnose()
    assert not [f for f in found if f.level == "act"], str(found)
    told = str(found)
    assert "the record of 80 steps" in told
    assert "every weight, gradient and unit of step 0" in told


FAULTS = {
    "causal": ({"model": replace(SOUND.model, causal=False)}, "sees-the-future"),
    "positions": ({"model": replace(SOUND.model, positions="none")}, "no-positions"),
    "residual": (
        {"model": replace(SOUND.model, without=("residual",), zero_residual=False)},
        "missing-residual",
    ),
    "rate": ({"optimizer": AdamWConfig(learning_rate=1.0)}, "update-too-large"),
    "crawl": ({"optimizer": AdamWConfig(learning_rate=1e-7)}, "update-too-small"),
    "warm-up": ({"schedule": Schedule("constant", warmup=4000)}, "warmup-too-long"),
    "frozen": ({"change": Change(freeze=("blocks.0",))}, "frozen"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_recipe_with_a_fault(tmp_path, fault):
    changes, rule = FAULTS[fault]
    found = diagnose(trained(tmp_path / "run", replace(SOUND, **changes)), seconds=UNHURRIED)
    assert rule in [f.rule for f in found][:2], str(found)
    if fault == "crawl":  # and a sweep over rates says which would do
        assert "rate-out-of-range" in [f.rule for f in found], str(found)


def test_a_rate_above_two_over_the_sharpness_is_named(tmp_path):
    found = diagnose(trained(tmp_path / "run", replace(SOUND, optimizer=SGDConfig(3.0))))
    assert "edge-of-stability" in [f.rule for f in found], str(found)


def test_the_scale_of_the_sharpness_is_what_adam_multiplies_a_gradient_by(tmp_path):
    rule = AdamWConfig(learning_rate=1e-3, betas=(0.0, 0.9), max_grad_norm=0.0)
    run = trained(tmp_path / "run", replace(SOUND, optimizer=rule, steps=12))
    moment = run.at(8)
    before = {n: p.detach().clone() for n, p in moment.model.named_parameters()}
    moment.advance()
    for name, p in moment.optimizer.named.items():
        moved = moment.optimizer.rate * around._scale(moment, name, p) * p.grad
        assert torch.allclose(before[name] - p, moved, atol=1e-6), name


def test_validation_that_stands_in_training(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    data = Data(source=(str(tmp_path / "a.txt"),), validation_source=(str(tmp_path / "a.txt"),))
    recipe = replace(SOUND, data=data, steps=5)
    run = Run.create(recipe, tmp_path / "run")
    finish(run)
    assert "validation-leaks" in rules(run)


def test_a_number_that_is_not_finite_is_named(tmp_path):
    recipe = replace(
        SOUND,
        model=MLPConfig(n_previous=3, d_model=8, d_ff=16, n_layers=3, activation="relu"),
        optimizer=SGDConfig(learning_rate=1e6),
    )
    run = trained(tmp_path / "run", recipe)
    done = len(run.steps)
    assert done < recipe.steps  # the run refused to go on
    [finding] = [f for f in diagnose(run) if f.rule == "not-finite"]
    assert finding.step is not None
    assert done - 1 <= finding.step <= done
    assert finding.facts[0].step == done
    assert finding.open  # an address that opens
    with pytest.raises(WhenceError):
        run.at(done).advance()


WIDER = ClassifierConfig(n_layers=1, n_heads=2, d_model=16, context_length=32)


def test_labels_and_counts_are_judged_too(tmp_path):
    recipe = replace(SOUND, model=WIDER, steps=10)
    run = trained(tmp_path / "labels", recipe, LABEL_SOURCE)
    found = evidence_of_run(run, UNHURRIED)
    assert found.texts.window == 10 / 32  # "99 bottles" of a model that reads 32 characters
    assert diagnose(run).judged


def test_a_rule_is_added_in_one_place(sound):
    def many_steps(e):
        """More than 50 steps."""
        return Finding("many steps", "watch", (), "none") if len(e.loss) > 50 else None

    found = diagnose(sound, rules=[*RULES, Rule(many_steps, ("record",))])
    assert "many-steps" in [f.rule for f in found]


def test_what_is_not_judged_says_why(sound):
    def moon(e):
        """Nothing."""

    found = diagnose(sound, rules=[Rule(moon, ("validation",)), Rule(moon, ("attention",))])
    assert not found.not_judged
    without = diagnose(sound, rules=[r for r in RULES if r.name == "wrong-axis"])
    assert without.judged == ("wrong-axis",)
    assert str(without).startswith("nothing found\nlooked at: the record of 80 steps, ")


def test_every_need_has_a_reason_and_every_rule_a_source():
    assert all(rule.source and rule.about for rule in RULES)
    assert {need for rule in RULES for need in rule.needs} <= NEEDS.keys()
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_command(sound, tmp_path, capsys):
    assert main(["doctor", str(sound.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    assert told["looked"]
    bad = trained(tmp_path / "bad", replace(SOUND, model=replace(SOUND.model, causal=False)))
    assert main(["doctor", str(bad.path)]) == 1
    told = capsys.readouterr().out
    assert "sees-the-future" in told
    assert "do " in told
    assert main(["doctor", str(tmp_path / "none")]) == 2
