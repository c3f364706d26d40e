"""NaN and infinities are numbers like others, and the step they stopped opens."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.runs.tiny import finish, make
from tests.why.models import GPT, Recurrent, adamw, stepper, text, transformer
from whence.errors import WhenceError
from whence.train.optimizer import NotFiniteError
from whence.train.optimizers import SGDConfig
from whence.why import balance, first_bad, trace
from whence.why.recording.storage import Ref

MODELS = {
    "gpt": lambda: GPT(),
    "fused": lambda: GPT(fused=True, tied=True),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gpt2": lambda: transformer("gpt2"),
    "llama": lambda: transformer("llama"),
}


@pytest.mark.parametrize(
    ("spoil", "bf16"), [("nan", False), ("nan", True), ("inf", False), ("overflow", True)]
)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_that_is_not_finite_adds_up(name, spoil, bf16):
    torch.manual_seed(0)
    model = MODELS[name]()
    embedding = next(m for m in model.modules() if isinstance(m, nn.Embedding))
    with torch.no_grad():
        if spoil == "overflow":
            for weight in model.parameters():
                weight.mul_(1e16 if weight.ndim == 2 else 1)
        else:
            embedding.weight[text()[0][0, 3], 2] = float(spoil)
    t = trace(stepper(model, adamw(model), bf16=bf16, clip=1.0))
    assert not balance(t, numbers=600, each=30).wrong


def test_a_number_that_went_bad_by_itself_still_does_not_add_up():
    x = torch.tensor([1.0, 2.0])

    def step():
        y = x * 3.0
        return y.sum()

    t = trace(step)
    ref = t["y"].ref
    assert isinstance(ref, Ref)
    stored = ref.version.content()
    torch.empty(0).set_(stored, 0, (2,), (1,))[1] = math.nan  # as a broken kernel would
    assert t.number("y[1]").why().verdict == "does not add up"
    assert [w for w in balance(t).wrong if w.startswith("y[1]")]


class Net(nn.Module):
    """Tokens on their own: a bad one spoils nothing beside it."""

    def __init__(self):
        super().__init__()
        self.embed, self.up, self.head = nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        root = self.embed(tokens).sqrt()  # NaN below 0
        return self.head(torch.tanh(self.up(root)))


@pytest.fixture(scope="module")
def one_bad_token():
    torch.manual_seed(0)
    model, tokens = Net(), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    with torch.no_grad():
        model.embed.weight.abs_()
        model.embed.weight[7, 2] = -1.0

    def step():
        F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()

    return trace(step, model=model, tokens=tokens), model


def test_terms_that_are_not_finite_come_first(one_bad_token):
    t, model = one_bad_token
    assert model.up.weight.grad is not None
    assert model.up.weight.grad[3].isnan().all()
    receipt = t.number("up.weight[3,2].grad").why(top=3)
    assert receipt.verdict == "not finite"
    assert [receipt.share(term) for term in receipt.terms] == [1.0, 0.0, 0.0]
    assert math.isnan(receipt.terms[0].value)
    assert receipt.terms[0].place == "token 7 at position 2 of example 1"
    assert "1 of 8 terms is not finite" in receipt.notes
    assert "nan %" not in str(receipt)
    assert receipt.to_dict()["value"] == "nan"


def test_the_token_that_brought_it_comes_first(one_bad_token):
    t, _ = one_bad_token
    for address in ("loss", "up.weight[3,2].grad", "head.weight[1,2].grad"):
        shares = t.number(address).attribution("token").shares
        assert shares[0].label == "token 7"
        assert shares[0].share == 1.0
        assert all(math.isfinite(s.value) and s.share == 0.0 for s in shares[1:])
        assert len(shares) == 8


def test_the_first_bad_number_is_named_with_operands_and_token(one_bad_token):
    t, _ = one_bad_token
    found = first_bad(t)
    assert found is not None
    assert found.receipt.address == "root[1,2,2]"
    assert found.place == "token 7 at position 2 of example 1"
    assert found.receipt.terms[0].factors == (("embed[1,2,2]", -1.0),)
    assert found.others == 0
    assert found.reached[-1] == "loss"
    assert found.to_dict()["receipt"]["address"] == "root[1,2,2]"


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_the_first_bad_number_is_the_one_that_anomaly_detection_names():
    w = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)

    def step():
        root = w.sqrt()  # finite, and its slope at 0 isn't
        loss = (root * 0.0).sum()
        loss.backward()

    with pytest.raises(RuntimeError, match="SqrtBackward0"), torch.autograd.detect_anomaly():
        step()
    w.grad = None
    found = first_bad(trace(step))
    assert found is not None
    assert found.receipt.address == "w[1].grad"
    assert found.receipt.verdict == "not finite"


def test_masks_and_finite_steps_are_not_blamed():
    torch.manual_seed(0)
    model = GPT()  # its mask is filled with −∞
    assert first_bad(trace(stepper(model, adamw(model)))) is None

    seen = torch.tensor([[True, True], [False, False]])  # the second row may read nothing
    scores = torch.zeros(2, 2, requires_grad=True)

    def step():
        masked = scores.masked_fill(~seen, -math.inf)
        weights = masked.softmax(-1)
        weights.sum().backward()

    found = first_bad(trace(step))
    assert found is not None
    assert found.receipt.address == "weights[1,0]"


def test_overflow_says_that_the_terms_are_finite():
    x = torch.tensor([3e38, 2e38], requires_grad=True)

    def step():
        loss = x.sum()
        loss.backward()

    t = trace(step)
    receipt = t.why("loss")
    assert receipt.value == math.inf
    assert receipt.verdict == "not finite"
    assert any("more than float32 holds" in note for note in receipt.notes)
    found = first_bad(t)
    assert found is not None
    assert found.receipt.address == "loss"


def test_a_denominator_that_is_not_finite_does_not_blame_every_token():
    torch.manual_seed(0)
    model, tokens = Net(), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    optimizer = adamw(model)
    with torch.no_grad():
        model.embed.weight.abs_()
        model.embed.weight[7, 2] = -1.0

    def step():
        F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    t = trace(step, model=model, optimizer=optimizer)
    assert model.up.weight[3, 2].isnan()
    shares = t.number("up.weight[3,2].update").attribution("token").shares
    assert [(s.label, s.share) for s in shares if s.share] == [("token 7", 1.0)]


@pytest.mark.parametrize("refusal", ["clipping", "a check of the loss"])
def test_a_step_that_refuses_is_traced_up_to_there(refusal):
    torch.manual_seed(0)
    model, tokens = Net(), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    optimizer = adamw(model)

    def step():
        logits = model(tokens)  # the table has negative numbers
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        if refusal == "a check of the loss" and not math.isfinite(loss.item()):
            raise ValueError("the loss is not finite")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()

    t = trace(step, model=model, optimizer=optimizer)
    assert "finite" in t.refused
    assert math.isnan(t.number("output[0,0,1]").value)
    if refusal == "clipping":
        assert math.isnan(t.number("head.weight[1,2].grad").value)
        with pytest.raises(WhenceError, match="refused before"):
            t.number("head.weight[1,2].update")
    found = first_bad(t)
    assert found is not None
    assert found.receipt.address.startswith("root[")


def test_other_errors_of_a_step_are_raised():
    x = torch.tensor([1.0], requires_grad=True)

    def step():
        (x * 2).sum().backward()
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        trace(step)


@pytest.fixture(scope="module")
def refused_run(tmp_path_factory):
    run = make(tmp_path_factory.mktemp("refused") / "run", optimizer=SGDConfig(learning_rate=1e18))
    with pytest.raises(NotFiniteError):
        finish(run)
    return run


def test_the_refused_step_of_a_run_opens(refused_run):
    step = len(refused_run.steps)
    t = refused_run.at(step).trace()
    assert "is not finite" in t.refused
    assert not balance(t, numbers=2_000).wrong
    found = first_bad(t)
    assert found is not None
    assert not math.isfinite(found.receipt.value)
    assert all(math.isfinite(v) for term in found.receipt.terms for _, v in term.factors)
    assert "line" in found.place


def test_the_command_names_the_first_bad_number_of_the_refused_step(refused_run, capsys):
    from tests.cli.command import whence

    step = len(refused_run.steps)
    assert whence("why", refused_run.path, "--first-bad") == 0
    printed = capsys.readouterr().out
    assert "the step was refused" in printed
    assert "it reached: " in printed
    assert "→ loss" in printed
    assert whence("why", refused_run.path, "--first-bad", "--step", step) == 0
    assert capsys.readouterr().out == printed
    assert whence("why", refused_run.path, "loss", "--step", step, "--by", "token") == 0
    assert "nan %" not in capsys.readouterr().out
    assert whence("why", refused_run.path, "--first-bad", "--step", 0) == 0
    assert "all finite" in capsys.readouterr().out
    assert whence("why", refused_run.path, "--first-bad", "--check") == 2
