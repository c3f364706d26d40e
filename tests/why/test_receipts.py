"""Receipts against figures worked out by hand, and addresses that lead to them."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.why.models import GPT, adamw, stepper, text
from whence.errors import WhenceError
from whence.scalar import Value
from whence.why import Address, trace


@pytest.fixture(scope="module")
def hand():
    """The network worked out by hand: 1 input → 1 ReLU → 1 output, loss (ŷ − y)²/2."""
    w1, b1, w2, b2 = (torch.tensor(v, requires_grad=True) for v in (2.0, -3.0, 1.5, 0.5))
    x, y = torch.tensor(2.0), torch.tensor(4.0)

    def step():
        z = w1 * x + b1
        h = torch.relu(z)
        guess = w2 * h + b2
        loss = (guess - y) ** 2 / 2
        loss.backward()
        with torch.no_grad():
            for p in (w1, b1, w2, b2):
                p -= 0.1 * p.grad

    return trace(step)


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("z", 1.0), ("h", 1.0), ("guess", 2.0), ("loss", 2.0),
        ("w2.grad", -2.0), ("b2.grad", -2.0), ("w1.grad", -6.0), ("b1.grad", -3.0),
        ("w1.after", 2.6), ("b1.after", -2.7), ("w2.after", 1.7), ("b2.after", 0.7),
    ],
)  # fmt: skip
def test_the_hand_network_opens_into_the_hand_worked_figures(hand, address, value):
    receipt = hand.why(address)
    assert receipt.value == pytest.approx(value, abs=1e-6)
    assert receipt.verdict in ("exact", "rounded")
    assert receipt.total + receipt.residual == receipt.value


def test_the_hand_network_opens_down_to_its_weights(hand):
    gradient = hand.why("w1.grad")
    assert gradient.terms[0].factors == (("z.grad", -3.0), ("x", 2.0))
    assert [a for a, _ in hand.why("guess").terms[0].factors] == ["mul#2"]
    update = hand.why("w1.update")
    (term,) = update.terms
    assert term.factors == (("w1.grad", -6.0),)
    assert update.value == pytest.approx(0.6, abs=1e-6)
    assert hand.why("w1").verdict == "given"
    assert hand.why("loss", depth=3).terms[0].opened[0].terms[0].opened


def test_a_number_gives_its_inputs_with_their_slopes(hand):
    assert [(n.address, s) for n, s in hand.number("guess").inputs] == [("mul#2", 1), ("b2", 1)]
    assert [(n.address, s) for n, s in hand.number("mul#2").inputs] == [("w2", 1.0), ("h", 1.5)]
    (h,) = hand.number("h").inputs
    assert (h[0].address, h[1]) == ("z", 1.0)
    assert float(hand.number("guess")) == 2.0
    assert hand.number("guess").formula == "x + y"


def test_a_number_knows_what_used_it(hand):
    assert [name for _, name in hand.number("h").used_by] == ["mul#2", "w2.grad", "z.grad"]


def test_values_and_tensors_give_the_same_receipts(hand):
    w1, b1, w2, b2 = (Value(v) for v in (2.0, -3.0, 1.5, 0.5))
    z = w1 * 2.0 + b1
    guess = w2 * z.relu() + b2
    loss = (guess - 4.0) ** 2 / 2
    loss.backward()
    for address, value in (("z", z), ("guess", guess), ("loss", loss)):
        ours, theirs = hand.why(address), value.why()
        assert ours.value == theirs.value
        assert sorted(t.value for t in ours.terms) == sorted(t.value for t in theirs.terms)
        assert ours.residual == theirs.residual == 0
    for name, value in {"w1": w1, "b1": b1, "w2": w2, "b2": b2, "z": z}.items():
        assert hand.number(name).grad.value == value.grad


def test_the_loop_of_values_gives_the_same_figures():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)

    def step():
        c = a * b
        d = c + 1
        loss = d**2
        loss.backward()

    t = trace(step)
    values = {n: t.number(n).value for n in ("c", "d", "loss", "a.grad", "b.grad")}
    assert values == {"c": 6, "d": 7, "loss": 49, "a.grad": 42, "b.grad": 28}


WORDS = ["we", "love", "deep", "learning", "the", "hello", "is", "<EOS>"]
LOGITS = [
    [2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10],
    [-3.0, 2.8, -0.5, -1.5, 1.2, -5.0, 2.1, -8],
    [-5.0, -4.0, 1.9, 0.8, 0.5, -6.0, -2.0, -7],
    [-6.0, -5.0, -4.0, 3.5, -2.0, -8.0, -3.0, -6],
]


def test_the_sentence_opens_into_p_minus_y():
    logits = torch.tensor(LOGITS, requires_grad=True)
    targets = torch.tensor([0, 1, 2, 3])

    def step():
        P = logits.softmax(-1)  # noqa: F841
        loss = F.cross_entropy(logits, targets, reduction="sum")
        loss.backward()

    t = trace(step, decode=WORDS.__getitem__)
    loss = t.why("loss")
    assert loss.value == pytest.approx(2.941226, abs=1e-5)
    sizes = [1.901281, 0.560981, 0.472478, 0.006486]
    assert [term.value for term in loss.terms] == pytest.approx(sizes, abs=1e-5)
    for i, p in enumerate([0.149377, 0.570649, 0.623455, 0.993535]):
        assert t.number(f"P[{i},{i}]").value == pytest.approx(p, abs=1e-6)
        assert t.why(f"P[{i},{i}]").verdict in ("exact", "rounded")
    slopes = {"we": -0.8506, "the": 0.4488, "hello": 0.3008, "is": 0.0820}
    for word, slope in slopes.items():
        receipt = t.why(f"logits[0,'{word}'].grad")
        assert receipt.value == pytest.approx(slope, abs=1e-4)
        assert receipt.verdict in ("exact", "rounded")


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    model = GPT()
    step = stepper(model, adamw(model))
    step()
    where = lambda example, position: f"line {example}"  # noqa: E731
    return trace(step, decode=lambda i: chr(97 + i % 26) + str(i // 26), where=where)


ADDRESSES = [
    "loss",
    "logits[0,3,5]",
    "logits[0,3,'f0']",
    "blocks.0.attn.scores[1,1,5,3]",
    "blocks.1.attn.weights[0,1,5,3]",
    "blocks.0.norm1[1,2,3]",
    "blocks.0.norm1[1,2,3].grad",
    "blocks.1.mlp.up[0,1,7]",
    "blocks.0.attn.weights[0,1,5,3].grad",
    f"embed.weight[{text()[0][0, 0]},2].grad",
    "blocks.0.mlp.up.weight[3,7].grad",
    "blocks.0.mlp.up.weight[3,7].update",
    "blocks.0.mlp.up.weight[3,7].after",
    "blocks.0.mlp.up.weight.exp_avg[3,7].after",
    "norm.weight[3].grad",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_terms_others_and_residual_add_up_to_the_number(gpt, address):
    receipt = gpt.why(address, top=3)
    added = math.fsum([t.value for t in receipt.terms]) + receipt.others.value + receipt.residual
    assert added == pytest.approx(receipt.value, rel=1e-12, abs=1e-15)
    assert receipt.verdict in ("exact", "rounded", "rounding noise")
    assert abs(receipt.residual) <= receipt.bound or receipt.verdict == "exact"
    assert sum(receipt.share(t) for t in receipt.terms) <= 1 + 1e-9
    for opened in receipt.opens:
        assert gpt.number(opened).address == opened


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_receipt_is_plain_data_too(gpt, address):
    plain = json.loads(json.dumps(gpt.why(address, depth=2, top=2).to_dict(), allow_nan=False))
    assert plain["schema"] == 2
    assert plain["terms"][0]["opened"][0]["address"]
    assert {"address", "value", "residual", "bound", "verdict", "opens"} <= set(plain)


def test_a_receipt_says_which_token_a_term_comes_from(gpt):
    words = str(gpt.why("blocks.0.mlp.up.weight[3,7].grad", top=3))
    assert "at position" in words
    assert "of example" in words
    assert "(line " in words
    assert "13 other terms" in words
    assert "residual" in words


def test_a_number_that_is_only_handed_on_is_opened_to_where_it_was_made():
    torch.manual_seed(0)
    weight = torch.randn(4, 4, requires_grad=True)
    x = torch.randn(5, 4)

    def step():
        half = weight.bfloat16()
        out = x.bfloat16() @ half
        loss = out.float().sum()
        loss.backward()

    t = trace(step)
    folded = t.why("weight[1,2].grad", top=3)
    assert folded.quantity.startswith("matrix product")
    assert [words for words, _ in folded.through] == ["widened to float32"]
    assert len(folded.terms) == 3
    assert [deeper.opened for deeper in folded.terms] == [()] * 3
    (term,) = t.why("weight[1,2].grad", raw=True).terms
    assert term.address == folded.through[-1][1]
    (doubled,) = trace(lambda: (weight * 2).sum().backward()).why("mul[1,2]").terms
    assert doubled.address == "weight[1,2]"  # twice the weight is another number


def test_what_a_mask_hides_is_not_offered_to_be_opened(gpt):
    (term,) = gpt.why("blocks.1.attn.weights[0,1,3,1]", top=4).terms
    opens = [address for address, _ in term.factors]
    assert opens
    assert all(int(address.rstrip("]").rpartition(",")[2]) <= 3 for address in opens)


def test_the_bias_of_a_key_gets_a_gradient_of_pure_rounding(gpt):
    verdicts = {gpt.why(f"blocks.0.attn.k.bias[{i}].grad").verdict for i in range(16)}
    assert verdicts == {"rounding noise"}


def test_the_address_of_a_number_leads_back_to_it(gpt):
    for name in gpt.names():
        numbers = gpt[name]
        if numbers.ref.numel:
            number = numbers[tuple(n - 1 for n in numbers.shape)]
            assert gpt.number(number.address).value == number.value or math.isnan(number.value)


@given(
    st.from_regex(r"[a-z_]+(\.[a-z0-9_]+){0,3}(#[0-9]+)?", fullmatch=True),
    st.none() | st.lists(st.integers(-9, 99) | st.text("ab'\"\\ ]é", max_size=4)),
    st.sampled_from([(), ("grad",), ("update",), ("after",), ("after", "grad")]),
    st.none() | st.integers(0, 10**6),
)
def test_addresses_are_read_as_they_are_written(name, index, quantity, step):
    address = Address(name, None if index is None else tuple(index), quantity, step)
    if index is None and quantity:
        return  # without brackets the quantity is read as the end of the name
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("blocks.0.atn.scores[0,0,0,0]", "did you mean blocks.0.attn.scores"),
        ("logits[0,99,0]", "index 99 of dimension 1 is outside 0 to 7"),
        ("logits[0,0]", "give 3 indices, not 2"),
        ("logits[0,0,'zzz']", "'zzz' isn't one of the 31 tokens"),
        ("logits[0,0,1.5]", "is not a list of integers"),
        ("logits[0,0,0", "is not an address"),
        ("blocks.0.norm1[0,0,0].after", "no value after the step"),
        ("tokens[0,0].grad", "no gradient"),
        ("", "is not an address"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(gpt, address, words):
    with pytest.raises(WhenceError, match=words.replace("[", r"\[")):
        gpt.number(address)


def test_dropout_says_that_it_was_drawn():
    torch.manual_seed(0)
    model = GPT(dropout=0.5)
    t = trace(stepper(model, adamw(model)))
    name = next(n for n in t.names() if "bernoulli" in n)
    assert t[name][0, 0, 0].why().verdict == "sampled"
