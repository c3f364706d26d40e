"""Every verb of `why` answers on every kind of run, and its answers are the run's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.cli.command import whence
from tests.runs.tiny import LABELS, PAIRS, RECIPE, RUNGS, TEXT, finish, make
from whence import Run
from whence.cli.document import strict
from whence.why.trace import Trace

KINDS = {
    **RUNGS,
    "accumulate": replace(RECIPE, accumulate=2),
    "encoder, accumulate": replace(RUNGS["encoder"], accumulate=2),
    "seq2seq, accumulate": replace(RUNGS["seq2seq"], accumulate=2),
}
STEP = 3
WAYS = ["token", "position", "example", "where", "module", "head"]
READ = {"seq2seq": "88 bottles\t088", "encoder": "many\t88 bottles"}
ASKED = {"seq2seq": ("88 bottles\t", "0"), "encoder": ("88 bottles", "many")}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("run") / request.param
    made = make(path, replace(KINDS[request.param], steps=6))
    finish(made)
    return made


@pytest.fixture(scope="module")
def trace(run) -> Trace:
    return run.at(STEP).trace()


@pytest.fixture
def ask(run, capsys):
    def call(verb: str, *words: object, step: bool = True) -> dict:
        at = ("--step", STEP) if step else ()
        assert whence(verb, run.path, *words, *at, "--json") == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return call


def kind_of(run: Run) -> str:
    return {"Seq2SeqConfig": "seq2seq", "ClassifierConfig": "encoder"}.get(
        type(run.recipe.model).__name__, "text"
    )


def weight_of(run: Run) -> tuple[str, torch.Tensor]:
    """A weight in the middle of the model, and its gradient at the step, as autograd has it."""
    moment = run.at(STEP)
    moment.model.zero_grad()
    for weight, part in moment.batch:
        (weight * moment.loss_fn(moment.model, part)).backward()
    named = [(n, p) for n, p in moment.model.named_parameters() if p.ndim == 2]
    name, parameter = named[len(named) // 2]
    assert parameter.grad is not None
    return name, parameter.grad


def steepest(run: Run) -> tuple[str, float]:
    """The address of a gradient, the largest of a weight in the middle; and what it is."""
    name, gradient = weight_of(run)
    row, column = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    return f"{name}[{row},{column}].grad", float(gradient[row, column])


def test_the_loss_is_the_steps(run, ask):
    recorded = run.steps[STEP]["loss"]
    found = ask("why", "loss")
    assert found["loss"] == pytest.approx(recorded, rel=1e-6)
    assert found["receipt"]["value"] == pytest.approx(recorded, rel=1e-6)
    assert found["receipt"]["verdict"] in ("exact", "rounded")


@pytest.mark.parametrize("by", WAYS)
def test_groups_add_up(run, trace, by):
    address, gradient = steepest(run)
    found = trace.number(address).attribution(by)
    assert found.value == pytest.approx(gradient, rel=1e-4, abs=1e-9)
    if by in ("token", "example", "where"):  # it is all of the batch
        assert not [s for s in found.shares if s.label.startswith(("constant", "("))]
    loss = trace.number("loss").attribution(by)
    assert loss.value == pytest.approx(run.steps[STEP]["loss"], rel=1e-6)
    for each in (found, loss):
        total = sum(share.value for share in each.shares) + each.rounding
        assert total == pytest.approx(each.value, rel=1e-9)


def test_the_command_gives_these_groups_and_says_what_they_mean(run, trace, ask, capsys):
    """One way of grouping for each kind of run, so that all have their turn."""
    by = WAYS[sorted(KINDS).index(run.path.name) % len(WAYS)]
    address, _ = steepest(run)
    found = trace.number(address).attribution(by)
    assert ask("why", address, "--by", by)["attribution"] == json.loads(strict(found.to_dict()))
    assert whence("why", run.path, "loss", "--by", by, "--step", STEP) == 0
    assert f"by {by}: a term counts for" in capsys.readouterr().out


def test_examples_of_the_loss_are_told_apart(run, ask):
    attribution = ask("why", "loss", "--by", "example")["attribution"]
    examples = {s["label"] for s in attribution["shares"] if s["label"].startswith("example")}
    assert examples == {f"example {i}" for i in range(4)}
    where = ask("why", "loss", "--by", "where")["attribution"]["shares"]
    word = {"seq2seq": "pair ", "encoder": "text "}.get(kind_of(run), "line ")
    assert [s for s in where if s["label"].startswith(word)]


def test_nudging_is_done_on_the_same_batch(run, ask):
    address, gradient = steepest(run)
    check = ask("why", address.removesuffix(".grad"), "--check")["check"]
    assert check["stored"] == pytest.approx(gradient, rel=1e-4, abs=1e-9)
    assert check["finite_difference"] == pytest.approx(check["stored"], rel=1e-3)
    assert check["stored_relative_error"] < 1e-3
    assert check["relative_error"] < 1e-5


def test_after_a_check_the_moment_is_behind_the_step(run):
    moment = run.at(STEP)
    t = moment.trace()
    name, _ = weight_of(run)
    t.number(f"{name}[1,1]").check()
    assert moment.step == STEP + 1
    assert moment.advance() == float.fromhex(run.steps[STEP + 1]["loss_hex"])


def test_lists_balances_and_bad_numbers(run, ask, capsys):
    assert ask("why", "--list")["tensors"]
    balance = ask("why", "--balance", "--numbers", 400)["balance"]
    assert not [row for row in balance["rows"] if row["wrong"]]
    assert ask("why", "--first-bad")["first_bad"] is None


def test_a_text_is_read(run, ask):
    kind = kind_of(run)
    text = READ.get(kind, "88 bottles")
    found = ask("why", "loss", "--text", text, "--by", "token", step=False)
    moment = run.at(len(run.steps) - 1)
    moment.model.eval()
    if kind == "encoder":
        tokens = moment.tokenizer.encode(text.partition("\t")[2])
        logits = moment.model(torch.from_numpy(np.asarray(tokens).astype(np.int64))[None])[0]
        classes = run.recipe.model.classes  # type: ignore[union-attr]
        expected = -logits.detach().log_softmax(-1)[classes.index("many")]
        assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    name, _ = weight_of(run)
    checked = ask("why", f"{name}[1,1]", "--text", text, "--check", step=False)["check"]
    assert checked["stored"] == pytest.approx(checked["finite_difference"], rel=1e-3, abs=1e-7)


def test_a_biography_and_what_taught_it(run, ask, capsys):
    name, _ = weight_of(run)
    life = ask("biography", f"{name}[1,1]", "--largest", 1, step=False)["biography"]
    assert life["residual"] == 0.0
    prompt, following = ASKED.get(kind_of(run), ("88 bott", "l"))
    found = ask("influence", prompt, "--next", following, "--top", 2, step=False)["influence"]
    change = found["curve"][-1] - found["curve"][0]
    told = found["accounted"] + found["decay"] + found["past"] + found["bent"] + found["rounded"]
    assert told == pytest.approx(change, abs=1e-9)
    assert abs(found["accounted"] + found["decay"]) > 0.3 * abs(change)
    lines = {"seq2seq": PAIRS, "encoder": LABELS}.get(kind_of(run), TEXT)
    for window in found["largest"]:
        assert window["text"].rpartition(": ")[2].strip("…⟨⟩")[:2].strip("⟨⟩↵ ·") in lines


def test_an_unknown_class_is_one_sentence(run, capsys):
    if kind_of(run) == "encoder":
        assert whence("influence", run.path, "88 bottles", "--next", "none") == 2
        assert "give --next one of few, many" in capsys.readouterr().err
        assert whence("why", run.path, "loss", "--text", "88 bottles") == 2
        assert "tab" in capsys.readouterr().err
