"""What a receipt says in words and digits, against torch's own figures."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.why.models import GPT, adamw, stepper
from whence.scalar import Value
from whence.train.optimizer import Optimizer
from whence.train.optimizers import OPTIMIZERS as OPTIMIZERS_OF_RECIPES
from whence.train.optimizers import MuonConfig, SGDConfig
from whence.train.schedules import Schedule
from whence.why import trace


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    model = GPT()
    step = stepper(model, adamw(model))
    step()
    where = lambda example, position: f"line {example}"  # noqa: E731
    t = trace(step, decode=lambda i: chr(97 + i % 26) + str(i // 26), where=where)
    t.step = 149
    return t


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.9), weight_decay=0.3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.2),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam, decay": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.3, maximize=True),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.02, amsgrad=True),
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=0.1, weight_decay=0.2),
    "muon, rms": lambda p: torch.optim.Muon(
        [w for w in p if w.ndim == 2], lr=0.1, nesterov=False, adjust_lr_fn="match_rms_adamw"
    ),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_update_reads_as_symbols_numbers_result(kind):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = OPTIMIZERS[kind](model.parameters())
    x, y = torch.randn(6, 4), torch.randn(6, 3)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    step()
    before = model.weight.detach().clone()
    receipt = trace(step).why("weight[1,2].update")
    moved = float(model.weight.detach()[1, 2].double() - before[1, 2].double())
    assert receipt.value == moved
    assert receipt.symbols.startswith("−η·")
    figures = receipt.numbers.replace("−", "-").replace("·", "*")
    assert eval(figures) == pytest.approx(moved, rel=1e-4)  # our own arithmetic
    rate = float(optimizer.param_groups[0]["lr"])
    assert float(receipt.names["η"]) == pytest.approx(rate)
    if kind == "adamw":
        state = optimizer.state[model.weight]
        assert float(receipt.names["m"]) == pytest.approx(float(state["exp_avg"][1, 2]), rel=1e-6)
        assert float(receipt.names["v"]) == pytest.approx(
            float(state["exp_avg_sq"][1, 2]), rel=1e-6
        )


OURS = {
    **OPTIMIZERS_OF_RECIPES,
    "nesterov": SGDConfig(momentum=0.9, nesterov=True, weight_decay=0.2),
    "muon, jordan": MuonConfig(coefficients="jordan", orthogonalize_steps=5, max_grad_norm=0.01),
}


@pytest.mark.parametrize("kind", OURS)
def test_an_update_of_our_own_optimizers_reads_as_symbols_numbers_result(kind):
    torch.manual_seed(0)
    model, config = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), OURS[kind]
    optimizer = Optimizer(model, config, Schedule("constant", 0), steps=10)
    x, y = torch.randn(6, 4), torch.randn(6, 2)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    step()
    before = model[0].weight.detach().clone()
    t = trace(step, model=model, optimizer=optimizer)
    receipt = t.why("0.weight[1,2].update")
    moved = float(model[0].weight.detach()[1, 2].double() - before[1, 2].double())
    assert receipt.value == moved
    assert receipt.symbols.startswith("−η·")
    figures = receipt.numbers.replace("−", "-").replace("·", "*")
    assert eval(figures) == pytest.approx(moved, rel=1e-4)  # our own arithmetic
    assert float(receipt.names["η"]) == pytest.approx(config.rate("matrix"))
    if isinstance(config, MuonConfig):
        assert float(receipt.names["μ"]) == config.momentum
        # NumPy's singular values, each taken through the same polynomials, say what O is.
        b, g = optimizer.state["0.weight.momentum"], model[0].weight.grad
        ahead = ((1 - config.momentum) * g + config.momentum * b).double()
        assert float(receipt.names["u = (1 − μ)·g + μ·b"]) == pytest.approx(float(ahead[1, 2]))
        left, sizes, right = np.linalg.svd(ahead.numpy(), full_matrices=False)
        sizes = sizes / np.linalg.norm(sizes)
        for one in config.triples:
            sizes = np.polyval([one[2], 0, one[1], 0, one[0], 0], sizes)
        near = (left * sizes) @ right
        assert float(receipt.names["O"]) == pytest.approx(float(near[1, 2]), rel=1e-3)
        if config.coefficients == "jordan":
            assert receipt.notes[0].endswith("with (a, b, c) = (3.4445, −4.775, 2.0315)")
        assert f"{config.orthogonalize_steps} Newton–Schulz steps" in receipt.notes[0]


def test_the_sentence_of_an_update_says_how_much_of_it_is_momentum():
    torch.manual_seed(0)
    model = nn.Linear(3, 2, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(5, 3), torch.randn(5, 2)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    step()
    past = 0.9 * float(optimizer.state[model.weight]["momentum_buffer"][1, 2])
    t = trace(step)
    gradient = float(model.weight.grad[1, 2])
    sentence = t.why("weight[1,2].update", context=True).sentence
    whole = abs(past) + abs(gradient)
    larger, smaller = sorted((abs(past), abs(gradient)), reverse=True)
    assert f"{100 * larger / whole:.0f} %" in sentence
    assert f"{100 * smaller / whole:.0f} %" in sentence
    assert sentence.startswith("moved ")
    first = "momentum" if abs(past) > abs(gradient) else "this step's gradient"
    assert f"% {first}" in sentence.partition(",")[0]


def test_the_source_in_the_sentence_is_the_example_with_the_largest_part():
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    x, y = torch.randn(4, 3), torch.randn(4, 1)
    x[2] *= 50
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    each = torch.func.vmap(
        torch.func.grad(lambda w, a, b: ((a @ w.T - b) ** 2).sum() / 4), in_dims=(None, 0, 0)
    )(model.weight.detach().clone(), x, y)
    assert int(each[:, 0, 1].abs().argmax()) == 2
    sentence = trace(step).why("weight[0,1].update", context=True).sentence
    assert sentence.endswith("; most of this step's part from example 2")


def test_shape_percentile_and_size_beside_the_weight(gpt):
    name = "blocks.0.mlp.up.weight"
    gradient = gpt[name].grad.value
    receipt = gpt.why(f"{name}[3,7].grad", context=True)
    size = gradient[3, 7].abs()
    larger = 100 * float((gradient.abs() < size).sum()) / (gradient.numel() - 1)
    ratio = float(size / gpt[name].value[3, 7].abs())
    shape, percentile, beside = receipt.facts
    assert shape == f"shape {list(gradient.shape)}"
    assert percentile == f"larger than {larger:.0f} % of them in size"
    assert beside == f"|g|/|w| = {ratio:.3g}"
    assert gpt[f"{name}"].grad.largest().why(context=True).facts[1] == "the largest of them in size"


TITLES = {
    "blocks.0.mlp.up.weight[3,7]": "Weight blocks.0.mlp.up[3,7], step 149",
    "blocks.0.mlp.up.weight[3,7].grad": "Gradient of weight blocks.0.mlp.up[3,7], step 149",
    "blocks.0.mlp.up.weight[3,7].update": "Change of weight blocks.0.mlp.up[3,7], step 149",
    "blocks.0.mlp.up.weight[3,7].after": "Weight blocks.0.mlp.up[3,7] after the step, step 149",
    "blocks.0.mlp.up.weight.exp_avg[3,7]":
        "Momentum of weight blocks.0.mlp.up[3,7], step 149",
    "loss": "Loss, step 149",
    "norm.weight[3]": "Weight norm[3], step 149",
    "blocks.0.mlp.up[0,1,7]": "Activation blocks.0.mlp.up[0,1,7], step 149",
}  # fmt: skip


@pytest.mark.parametrize("address", TITLES)
def test_titles_in_the_words_of_the_field(gpt, address):
    assert gpt.why(address).title == TITLES[address]


def test_operations_are_called_what_they_do():
    torch.manual_seed(0)
    weight = torch.randn(4, 4, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.1, foreach=True)
    x = torch.randn(5, 4)

    def step():
        optimizer.zero_grad()
        half = weight.bfloat16()
        out = x.bfloat16() @ half
        loss = out.float().sum()
        loss.backward()
        optimizer.step()

    step()
    t = trace(step)
    half = t.why("half[1,2]")
    assert half.quantity == "rounded to bfloat16"
    assert half.operation == "_to_copy"
    assert t.why("weight#2[1,2]").quantity == "decayed"
    assert "_to_copy" not in str(half)
    assert "_to_copy" in "\n".join(half.lines(None, 17))


def test_a_loss_says_what_was_read_and_what_was_expected(gpt):
    ids = gpt.labels.parts[0].layouts.streams[0].ids
    receipt = gpt.why("loss")
    losses = {t.place: t.value for t in receipt.terms}
    worst = receipt.terms[0]
    assert worst.value == max(losses.values())
    read, expected = worst.place.split(" expected")[0].split(" read, ")
    decoded = {gpt.labels.text(int(i)) for i in ids.reshape(-1)}
    assert read in decoded
    address = worst.factors[0][0]  # log-probabilities [place, token]
    token = int(address.rstrip("]").rpartition(",")[2])
    assert expected == gpt.labels.text(token)
    assert f"{read} read, {expected} expected" in receipt.sentence


def test_an_attention_weight_says_which_token_it_reads(gpt):
    ids = gpt.labels.parts[0].layouts.streams[0].ids
    receipt = gpt.why("blocks.1.attn.weights[1,0,5,3]")
    assert receipt.quantity.endswith(f"reads {gpt.labels.text(int(ids[1, 3]))} at position 3")


SLOPES = {
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "rms": lambda x: (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt(),
    "tanh": lambda x: x.tanh(),
    "rsqrt": lambda x: x.square().rsqrt(),
}


@pytest.mark.parametrize("name", SLOPES)
def test_the_slope_by_each_input_is_autograds(name):
    torch.manual_seed(0)
    x = torch.randn(3, 5)
    t = trace(lambda: SLOPES[name](x))
    y = next(o.outputs[0] for o in reversed(t.ops) if o.outputs and o.outputs[0] is not None)
    number = t.number_at(y, 1)
    found = {}
    for term in number.why(top=20).terms:
        for (address, _), slope in zip(term.factors, term.slopes, strict=True):
            found[address] = found.get(address, 0.0) + slope
    assert found
    assert not any(math.isnan(slope) for slope in found.values())
    if any(not address.startswith("x[") for address in found):
        inner = next(iter(found)).partition("[")[0]
        source = t[inner].value.double().requires_grad_()
        apply = {"rms": torch.rsqrt, "rsqrt": torch.rsqrt}[name]
    else:
        source, apply, inner = x.double().requires_grad_(), SLOPES[name], "x"
    apply(source).reshape(-1)[1].backward()
    for address, slope in found.items():
        at = tuple(int(i) for i in address.removeprefix(f"{inner}[").rstrip("]").split(","))
        assert slope == pytest.approx(float(source.grad[at]), rel=1e-5, abs=1e-9)
    printed = str(number.why(top=20))
    if name in ("softmax", "tanh"):
        assert f"slope {found['x[0,1]']:.4g}"[:9] in printed


def test_layer_norms_own_statistics_have_slopes():
    torch.manual_seed(0)
    x = torch.randn(3, 6, requires_grad=True)
    norm = nn.LayerNorm(6)
    t = trace(lambda: norm(x).sum().backward(), model=norm)
    name = next(n for n in t.names() if n.endswith("rstd"))
    (term,) = t[name].at(1).why(top=6).terms
    wide = x.detach().double().requires_grad_()
    (wide[1].var(unbiased=False) + norm.eps).rsqrt().backward()
    for (address, _), slope in zip(term.factors, term.slopes, strict=True):
        at = tuple(int(i) for i in address.partition("[")[2].rstrip("]").split(","))
        assert slope == pytest.approx(float(wide.grad[at]), rel=1e-5)


def test_a_chain_of_copies_is_folded_and_says_so():
    torch.manual_seed(0)
    w = torch.randn(4, 4)
    x = torch.randn(3, 4)

    def step():
        a = x @ w
        b = a.clone()
        c = b.bfloat16()
        d = c.float()  # noqa: F841

    t = trace(step)
    receipt = t.why("d[1,2]")
    assert [words for words, _ in receipt.through] == ["widened to float32", "rounded to bfloat16",
                                                       "copied"]  # fmt: skip
    assert len(receipt.terms) == 4
    exact = (x.double() @ w.double())[1, 2]
    assert receipt.total == pytest.approx(float(exact), rel=1e-12)
    assert receipt.residual == pytest.approx(float((x @ w).bfloat16()[1, 2]) - float(exact))
    assert abs(receipt.residual) <= receipt.bound
    assert receipt.verdict == "rounded"
    (only,) = t.why("d[1,2]", raw=True).terms
    assert only.factors[0][0] == "c[1,2]"


def test_few_digits_to_read_and_all_on_request(gpt):
    receipt = gpt.why("blocks.0.mlp.up.weight[3,7].grad", top=3)
    stored = float(gpt["blocks.0.mlp.up.weight"].grad.value[3, 7])
    printed = str(receipt)
    assert f"= {stored:.4g}   " in printed
    assert repr(stored) not in printed
    assert repr(stored) in "\n".join(receipt.lines(None, 17))
    assert receipt.to_dict()["value"] == stored
    assert "open next" not in printed  # the terms' own addresses say it
    assert printed.count("rounding may leave") == 1
    assert str(gpt.why("blocks.0.mlp.up.weight[3,7].grad", top=3, depth=2)).count("may leave") == 1
    assert "█" in printed


def test_a_change_shows_where_few_digits_would_hide_it():
    torch.manual_seed(0)
    w = nn.Parameter(torch.tensor([2.8367531]))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step():
        optimizer.zero_grad()
        (w * 0.00289).sum().backward()
        optimizer.step()

    lines = str(trace(step).why("w[0].after")).splitlines()
    figures = {word for line in lines for word in line.split() if word.startswith("2.83")}
    assert len(figures) > 1


def test_both_engines_make_one_record():
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    ours = (a * b + 1.0).why(depth=2).to_dict()
    x, y = torch.tensor(2.0), torch.tensor(3.0)

    def step():
        c = x * y
        d = c + 1.0  # noqa: F841

    theirs = trace(step).why("d", depth=2).to_dict()
    assert ours.keys() == theirs.keys()
    assert ours["schema"] == theirs["schema"] == 2
    assert ours["terms"][0].keys() == theirs["terms"][0].keys()
    assert {t["share"] for t in ours["terms"]} == {t["share"] for t in theirs["terms"]}
    assert np.isclose(sum(t["share"] for t in ours["terms"]), 1)
