"""What taught a prediction: the linear form of each update, the sums, and replays as the judge."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from benchmarks import influence as bench
from tests.cli.command import whence
from tests.runs.tiny import RECIPE, finish, make
from whence.errors import WhenceError
from whence.models import GPTConfig, LSTMConfig
from whence.runs.fork import fork
from whence.runs.run import Run
from whence.train.optimizers import AdamWConfig, MuonConfig, SGDConfig
from whence.why import influence
from whence.why.history.slopes import Question, token_slopes
from whence.why.history.update_vjp import update_vjps

GPT = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16, zero_head=False)


def trained(path, steps=6, **changes) -> Run:
    finish(made := make(path, replace(RECIPE, **{"model": GPT, **changes}), steps=steps))
    return Run.open(made.path)


RULES = {
    "sgd": SGDConfig(learning_rate=0.1, weight_decay=0.1),
    "momentum": SGDConfig(momentum=0.9, max_grad_norm=0.1),
    "nesterov": SGDConfig(momentum=0.9, nesterov=True),
    "adamw": AdamWConfig(weight_decay=0.1, max_grad_norm=0.1),
    "muon": MuonConfig(weight_decay=0.1),
    "jordan": MuonConfig(coefficients="jordan", orthogonalize_steps=5),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_update_is_linear_in_memory_and_gradient(rule, tmp_path):
    moment = trained(tmp_path / "run", optimizer=RULES[rule]).at(4)
    named = moment.optimizer.named
    before = {n: p.detach().clone() for n, p in named.items()}
    torch.manual_seed(1)
    slopes = {n: torch.randn_like(p) for n, p in before.items()}
    moment.advance()
    memory = moment.optimizer.state
    for name, p in update_vjps(moment.optimizer, slopes, before).items():
        grad = named[name].grad
        assert grad is not None
        # Where weight decay is part of the gradient, the optimizer adds it behind clipping.
        inner = grad + p.inside * before[name]
        told = p.direct * (p.vjp * inner).sum().item() - p.decay
        if p.memory:
            told += p.to_state * (p.vjp * memory[p.memory]).sum().item()
        moved = (slopes[name].double() * (named[name].detach().double() - before[name])).sum()
        size = (slopes[name] * (named[name].detach() - before[name])).abs().sum().item()
        assert told == pytest.approx(moved.item(), abs=1e-4 * size + 1e-7), name


@pytest.mark.parametrize(
    "model", [replace(GPT, dropout=0.2), LSTMConfig(n_layers=1, d_model=16, context_length=16)]
)
def test_one_pass_gives_the_slope_of_every_window(model, tmp_path):
    moment = trained(tmp_path / "run", model=model).at(3)
    [(_, part)] = moment.batch
    weights = {n: p.detach().clone() for n, p in moment.optimizer.named.items()}
    torch.manual_seed(1)
    direction = {n: torch.randn_like(p) for n, p in weights.items()}
    found = token_slopes(moment, part, dict(weights), direction)
    for row in range(len(part.inputs)):
        torch.manual_seed(part.seed)  # the whole part runs, so that dropout draws the same
        logits = moment.model(part.inputs)[row]
        loss = F.cross_entropy(logits, part.targets[row]) / len(part.inputs)
        slopes = torch.autograd.grad(loss, list(moment.optimizer.named.values()))
        dot = sum((s * direction[n]).sum().item() for n, s in zip(weights, slopes, strict=True))
        assert found[row].sum().item() == pytest.approx(dot, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adamw", "muon"])
def test_it_adds_up_to_the_true_change(rule, tmp_path):
    run = trained(tmp_path / "run", optimizer=RULES[rule], accumulate=2)
    answer = influence(run, "99 bott", "le")
    for step in (0, 3, 6):  # ln P by another way
        model = run.at(step).model.eval()
        ids = torch.from_numpy(run.tokenizer.encode("99 bottle").astype("int64"))[None]
        logs = model(ids)[0].double().log_softmax(-1)
        true = sum(logs[6 + i, ids[0, 7 + i]].item() for i in range(2))
        assert answer.curve[step] == pytest.approx(true, abs=1e-4)
    added = answer.accounted + answer.decay + answer.past + answer.bent + answer.rounded
    assert added == pytest.approx(answer.curve[-1] - answer.curve[0], abs=1e-9)
    assert len(answer.windows) == 6 * 4
    assert abs(answer.rounded) < 1e-4 * sum(abs(w.value) for w in answer.windows)
    chunked = influence(run, "99 bott", "le", budget=1)  # every step a chunk of its own
    for a, b in zip(answer.windows, chunked.windows, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-6)


def test_small_steps_leave_little_to_the_second_order(tmp_path):
    run = trained(tmp_path / "run", optimizer=AdamWConfig(learning_rate=1e-4), steps=10)
    answer = influence(run, "99 bott", "le")
    assert abs(answer.bent) < 1e-3 * abs(answer.curve[-1] - answer.curve[0])


def test_replays_without_a_window_agree(tmp_path):
    model = bench.MODELS["LSTM"]
    run = bench.small(tmp_path / "run", model, AdamWConfig(learning_rate=1e-3), 16)
    answer = influence(run, "50 bottles of ", "beer")
    windows = bench.chosen(answer, 9)
    ours = [bench.predicted(answer, *window) for window in windows]
    true = [bench.replayed(run, answer, *window) for window in windows]
    pearson, spearman, signs = bench.correlations(ours, true)
    assert pearson > 0.6, (ours, true)
    assert spearman > 0.6, (ours, true)
    assert signs >= 7 / 9


def test_a_fork_tells_what_was_remembered(tmp_path):
    run = trained(tmp_path / "run", optimizer=AdamWConfig())
    child = fork(run, 3, tmp_path / "child", {"optimizer.learning_rate": 1e-3})
    finish(child)
    answer = influence(Run.open(child.path), "99 bott", "le")
    assert (answer.begin, answer.end, len(answer.windows)) == (3, 6, 12)
    assert answer.past != 0
    assert abs(answer.rounded) < 1e-4


def test_the_command(tmp_path, capsys):
    run = trained(tmp_path / "run")
    assert whence("influence", run.path, "99 bott", "--next", "le", "--top", 2) == 0
    printed = capsys.readouterr()
    assert "replaying 6 steps and sweeping back: about" in printed.err
    assert "accounted for by 24 windows" in printed.out
    assert "the true change" in printed.out
    assert "of bottles: " in printed.out
    assert whence("influence", run.path, "99 bott", "--next", "le", "--json", "--step", 4) == 0
    told = json.loads(capsys.readouterr().out)["influence"]
    assert told["schema"] == 1
    assert (told["end"], told["windows"]) == (4, 16)
    assert "⟨" in told["largest"][0]["text"]


@torch.no_grad()
def test_a_question_may_end_one_token_after_what_the_model_reads(tmp_path):
    moment = trained(tmp_path / "run", steps=1).at(1)
    model, text = moment.model.eval(), "99 bottles of ble"  # 17 tokens, and it reads 16
    ids = torch.as_tensor(moment.tokenizer.encode(text), dtype=torch.long)
    chances = [model(ids[None, :n])[0, -1].softmax(-1)[ids[n]] for n in (15, 16)]
    found, _ = Question(moment, text[:15], text[15:]).ask()
    assert found == pytest.approx(torch.stack(chances).log().sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("prompt", "next", "step", "words"),
    [
        ("", "le", None, "the prompt is empty"),
        ("99", "", None, "--next is empty"),
        ("99", "∮", None, "isn't among the"),
        ("99 bottles of be", "le", None, "have 18 tokens, but the model reads 16: shorten"),
        ("99", " ", 0, "no step of .* comes before step 0"),
        ("99", " ", 7, "has no step 7"),
    ],
)
def test_bad_questions_are_refused(prompt, next, step, words, tmp_path):
    run = trained(tmp_path / "run")
    with pytest.raises(WhenceError, match=words):
        influence(run, prompt, next, step=step)
