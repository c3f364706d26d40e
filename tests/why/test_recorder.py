"""A traced step keeps its bits, and every tensor of it is kept as it was."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.runs.tiny import finish, make
from tests.why.models import GPT, Recurrent, adamw, stepper, text
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.why import trace
from whence.why.history.moments import foresee


def steps(model, optimizer, traced: int | None, **options):
    """Three losses and the parameters behind them; one of the steps traced, or none."""
    step = stepper(model, optimizer, **options)
    losses = []
    for number in range(3):
        torch.manual_seed(number)
        losses.append(trace(step).result if number == traced else step())
    return [loss.item() for loss in losses], [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"clip": 0.5, "parts": 2}], ids=str)
@pytest.mark.parametrize("fused", [False, True])
def test_a_traced_step_gives_the_bits_of_one_that_is_not(fused, options):
    results = []
    for traced in (None, 1):
        torch.manual_seed(7)
        model = GPT(fused=fused, dropout=0.1)
        results.append(steps(model, adamw(model, fused=fused), traced, **options))
    (plain, weights), (losses, traced_weights) = results
    assert losses == plain
    assert all(torch.equal(a, b) for a, b in zip(weights, traced_weights, strict=True))


def test_parameters_gradients_and_moments_are_kept_before_and_after():
    torch.manual_seed(0)
    model = GPT()
    optimizer = adamw(model)
    step = stepper(model, optimizer)
    step()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    moment = optimizer.state[model.head.weight]["exp_avg"].clone()
    t = trace(step)
    for name, param in model.named_parameters():
        assert torch.equal(t[name].value, before[name])
        assert torch.equal(t[name].after.value, param.detach())
        assert torch.equal(t[name].grad.value, param.grad)
        change = param.detach().double() - before[name].double()
        assert torch.equal(t[name].update.value, change)
    assert torch.equal(t["head.weight.exp_avg"].value, moment)
    assert torch.equal(
        t["head.weight.exp_avg"].after.value, optimizer.state[model.head.weight]["exp_avg"]
    )


def test_training_on_does_not_change_a_trace():
    torch.manual_seed(0)
    model = GPT()
    step = stepper(model, adamw(model, fused=True))
    t = trace(step)
    kept = {n: t[n].after.value for n in t.parameters} | {"loss": t["loss"].value}
    for _ in range(2):
        step()
    for name, value in kept.items():
        now = t["loss"].value if name == "loss" else t[name].after.value
        assert torch.equal(value, now)


def test_activations_and_their_gradients_are_those_that_autograd_sees():
    torch.manual_seed(0)
    model = GPT()
    tokens, targets = text()
    seen = {}

    def keep(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            seen[name] = output

        return hook

    for name in ("embed", "blocks.0.norm1", "blocks.1.mlp.up", "blocks.1.attn.o", "norm"):
        model.get_submodule(name).register_forward_hook(keep(name))

    def step():
        F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()

    t = trace(step)
    for name, tensor in seen.items():
        assert torch.equal(t[name].value, tensor.detach())
        assert torch.equal(t[name].grad.value, tensor.grad)


def test_variables_of_the_code_give_their_names():
    model = GPT()
    tokens, targets = text()

    def step():
        logits = model(tokens)
        probabilities = logits.softmax(-1)
        loss = -probabilities.flatten(0, 1)[range(16), targets.flatten()].log().mean()
        loss.backward()

    t = trace(step)
    expected = {"logits", "probabilities", "loss", "blocks.0.attn.scores", "blocks.1.attn.weights",
                "blocks.0.h", "blocks.1.mlp", "blocks.0.attn.y", "tokens"}  # fmt: skip
    assert expected <= set(t.names())
    assert t["blocks.0.attn.weights"].shape == (2, 2, 8, 8)
    assert t["blocks.0.attn.q"].shape == (2, 8, 16)
    assert t["blocks.0.attn.q.local"].shape == (2, 2, 8, 8)  # the variable q beside the module q
    assert torch.equal(
        t["blocks.0.attn.weights"].value.sum(-1).round(decimals=5), torch.ones(2, 2, 8)
    )


def test_a_module_called_twice_has_two_outputs():
    layer = nn.Linear(3, 3)
    x = torch.ones(1, 3)

    def step():
        layer(layer(x)).sum().backward()

    t = trace(step)
    model = "layer" if "layer" in t else "output"
    assert torch.equal(t[f"{model}#2"].value, layer(layer(x)).detach())


def test_fused_attention_has_scores_and_weights_though_the_kernel_keeps_neither():
    torch.manual_seed(0)
    models = [GPT(), GPT(fused=True)]
    models[1].load_state_dict(models[0].state_dict())
    plain, fused = (trace(stepper(m, adamw(m)), model=m) for m in models)
    for name, ours in (("masked", "scores"), ("weights", "weights")):
        for k in range(2):
            one = plain[f"blocks.{k}.attn.{name}"]
            two = fused[f"blocks.{k}.attn.{ours}"]
            torch.testing.assert_close(one.value.double(), two.value, rtol=1e-4, atol=1e-6)
    one, two = plain["blocks.0.attn.weights"].grad, fused["blocks.0.attn.weights"].grad
    torch.testing.assert_close(one.value.double(), two.value, rtol=1e-3, atol=1e-7)
    receipt = fused.why("blocks.0.attn.weights[0,1,3,2]")
    assert receipt.recomputed
    assert receipt.verdict in ("exact", "rounded")


def test_in_place_writes_views_and_aliases():
    x = torch.arange(12.0).reshape(3, 4).requires_grad_()

    def step():
        y = x * 1
        view = y[1]
        y.mul_(2)
        view.add_(10)
        y[:, 0] = y[:, 1] + y[:, 2]
        column = y.t()[3]  # noqa: F841
        y[2, 3] = 100.0
        total = (y * y).sum()
        total.backward()

    t = trace(step)
    assert t["y"].value[1].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert t["view"].value.tolist() == [4.0, 5.0, 6.0, 7.0]
    assert t["column"].value.tolist() == [6.0, 24.0, 22.0]
    assert t.why("total").verdict in ("exact", "rounded")
    for name in [n for n in t.names() if n.startswith("y")]:
        for at in range(t[name].shape[0]):
            assert t[name][at, 3].why().verdict in ("exact", "rounded"), name
    last = [n for n in t.names() if n.startswith("y#") and "." not in n][-1]
    assert t[last].value[2].tolist() == [38.0, 18.0, 20.0, 100.0]
    receipt = t[last][1, 0].why()  # written by y[:, 0] = …, not by the last write to y
    assert receipt.value == 20.0 + 22.0


def test_a_buffer_filled_row_by_row_can_be_read_as_it_was_at_any_time():
    rows = torch.randn(5, 3)

    def step():
        buffer = torch.zeros(5, 3)
        sums = []
        for i in range(5):
            buffer[i] = rows[i] * 2
            sums.append(buffer.sum())
        return torch.stack(sums)

    t = trace(step)
    expected = (2 * rows).sum(1).cumsum(0)
    torch.testing.assert_close(t.result, expected)
    names = [n for n in t.names() if n.startswith("sum")]
    assert [t[n].value.item() for n in names] == t.result.tolist()
    for name in names:
        assert t[name][()].why().verdict in ("exact", "rounded")


def test_tied_weights_have_both_names_and_one_gradient_with_both_uses():
    torch.manual_seed(0)
    model = GPT(tied=True)
    t = trace(stepper(model, adamw(model)))
    assert t["embed.weight"].ref is t["head.weight"].ref
    rows = range(len(model.embed.weight))
    receipts = [t.why(f"head.weight[{row},1].grad") for row in rows]
    for row, receipt in zip(rows, receipts, strict=True):
        assert receipt.total == pytest.approx(model.embed.weight.grad[row, 1].item(), rel=1e-5)
    # Both uses of a row whose token was read; a use that sends back exactly 0 isn't a term.
    assert {len(receipt.terms) for receipt in receipts} == {1, 2}


def test_accumulated_gradients_are_the_sum_of_the_parts():
    torch.manual_seed(0)
    model = GPT()
    t = trace(stepper(model, adamw(model), parts=3))
    receipt = t.why("blocks.0.mlp.up.weight[3,7].grad", depth=2)
    assert t["blocks.0.mlp.up.weight"].grad.value[3, 7] == model.blocks[0].mlp.up.weight.grad[3, 7]
    assert len(receipt.terms) == 2
    assert len(t.losses) == 3


def test_plain_formulas_without_modules_are_traced_too():
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def step():
        loss = (w * w).sum()
        loss.backward()
        w.data -= 0.5 * w.grad

    t = trace(step)
    assert t["w"].after.value.tolist() == [0.0, 0.0]
    assert t.number("w[1].update").value == -2.0
    assert [term.value for term in t.why("w[1].update").terms] == [-2.0]


def test_what_is_not_traced_is_not_kept():
    model = Recurrent(nn.GRU)
    step = stepper(model, adamw(model))
    step()
    t = trace(step)
    del t
    gc.collect()
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_a_trace_gives_its_memory_back_at_once_but_not_under_a_number_of_it():
    model = GPT()
    step = stepper(model, adamw(model))
    gc_was_on = gc.isenabled()
    gc.disable()  # operations and tensors point at each other: only a collection frees those
    try:
        t = trace(step)
        made = [ref.version.memory for op in t.ops for ref in op.outputs if ref is not None]
        alive = [memory for memory in made if not memory.outside]
        kept = next(ref for op in t.ops for ref in op.outputs if ref is not None)
        number = t["blocks.0.mlp.up.weight"][0, 0].grad
        value = number.value
        del t
        assert number.why().value == value  # it keeps its step
        assert sum(memory.storage.nbytes() for memory in alive) > 100_000
        del number
        assert sum(memory.storage.nbytes() for memory in alive) == 0
        with pytest.raises(WhenceError, match="keep the trace"):
            kept.tensor()
    finally:
        if gc_was_on:
            gc.enable()


def test_a_step_that_fails_leaves_no_hooks_behind():
    model = GPT()

    def step():
        model(torch.tensor([[VERY_LARGE]]))

    with pytest.raises(IndexError):
        trace(step)
    assert not nn.modules.module._global_forward_hooks


VERY_LARGE = 10_000


def test_memory_is_told_beforehand_and_refused_before_anything_changes():
    torch.manual_seed(0)
    model = GPT()
    step = stepper(model, adamw(model, fused=True))
    step()
    told = []
    t = trace(step, tell=told.append)
    assert t.nbytes <= told[0] <= 2 * t.nbytes
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(WhenceError, match=r"would keep about .* [kMG]B"):
        trace(step, budget=t.nbytes // 2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_inference_can_be_traced():
    model = GPT()
    tokens, _ = text()

    @torch.no_grad()
    def step():
        return model(tokens)

    t = trace(step, model=model)
    assert torch.equal(t["logits"].value, model(tokens).detach())
    with pytest.raises(WhenceError, match="no loss"):
        t.loss  # noqa: B018


def test_what_a_step_will_keep_is_foreseen_and_bounded(tmp_path):
    """The estimate is near what the trace keeps; the bound, of one example alone, is never less."""
    run = make(tmp_path / "run")
    finish(run, until=3)
    moment = Run.open(run.path).at(2)
    parts = [part for _, part in moment.batch]
    near, bound = foresee(moment, parts), foresee(moment, parts, enough=10**12)
    kept = moment.trace().nbytes
    assert kept == pytest.approx(near, rel=0.05)
    assert kept <= bound <= len(parts[0].inputs) * kept
