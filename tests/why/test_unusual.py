"""Steps of unusual kinds: each runs to the same bits, opens, adds up, and has torch's gradients."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from benchmarks.why_kinds.unusual import MODELS, Case, plain, reentrant
from whence.errors import WhenceError
from whence.why import balance, trace


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[operator]
    return tensor.detach().to_dense() if tensor.is_sparse else tensor.detach().clone()


def run(kind: Callable[[], Case], traced: bool):
    torch._dynamo.reset()  # while_loop and cond compile, and other tests may have before
    torch.manual_seed(0)
    model, loss_of = kind()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        return loss

    t = trace(step, model=model, optimizer=optimizer) if traced else None
    if t is None:
        step()
    left = [(n, p, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    return t, {n: (whole(p), whole(gradient)) for n, p, gradient in left}


@pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)
@pytest.mark.filterwarnings("ignore")
def test_a_step_of_an_unusual_kind_opens(kind):
    _, expected = run(kind, traced=False)
    t, found = run(kind, traced=True)
    assert t is not None
    assert found.keys() == expected.keys() != set()
    for name, (weight, gradient) in expected.items():
        assert torch.equal(found[name][0], weight)
        assert torch.equal(found[name][1], gradient)
        ours = t[name].grad
        assert torch.equal(ours.value, gradient)
        assert torch.equal(t[name].after.value, weight)
        number = ours[(0,) * gradient.ndim]
        assert number.why().verdict in ("exact", "rounded", "rounding noise", "closed box")
        assert number.numbers.trace is t
        assert number.attribution("token").value == number.value
    assert not balance(t, numbers=300, each=10).wrong


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Rprop(p),
        lambda p: torch.optim.Rprop(p, foreach=False),
        lambda p: torch.optim.SparseAdam(p, lr=0.1),
        lambda p: torch.optim.LBFGS(p, max_iter=3),
    ],
    ids=["rprop", "rprop one by one", "sparse adam", "lbfgs"],
)
def test_other_optimizers_do_not_end_the_balance(make):
    torch.manual_seed(0)
    lookup = nn.Embedding(10, 4, sparse=True)
    dense, x, tokens = plain(), torch.randn(2, 4), torch.tensor([[1, 2, 1]])
    optimizer = make(list(lookup.parameters()))
    if not isinstance(optimizer, torch.optim.SparseAdam):
        optimizer = make(list(dense.parameters()))

    def loss() -> Tensor:
        optimizer.zero_grad()
        if isinstance(optimizer, torch.optim.SparseAdam):
            value = lookup(tokens).square().mean()
        else:
            value = dense(x).square().mean()
        value.backward()
        return value

    def step() -> None:
        optimizer.step(loss) if isinstance(optimizer, torch.optim.LBFGS) else (
            loss(), optimizer.step()
        )  # fmt: skip

    model = lookup if isinstance(optimizer, torch.optim.SparseAdam) else dense
    t = trace(step, model=model, optimizer=optimizer)
    assert not balance(t, numbers=500, each=10).wrong
    name = "weight" if model is lookup else "0.weight"
    assert t[name].update[1, 2].why().verdict in ("exact", "rounded")


def test_gradients_that_were_asked_for_or_set_by_hand_open():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)

    def asked() -> None:
        loss = model(x).square().mean()
        for weight, slope in zip(
            model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            weight.grad = slope

    def by_hand() -> None:
        with torch.no_grad():
            y = model(x)
            model.weight.grad, model.bias.grad = y.T @ x, y.sum(0)

    for step in (asked, by_hand):
        t = trace(step, model=model)
        assert model.weight.grad is not None
        assert torch.equal(t["weight"].grad.value, model.weight.grad)
        assert t.number("weight[1,2].grad").why().verdict in ("exact", "rounded")


def test_the_first_of_two_runs_says_where_its_gradient_is():
    t, _ = run(reentrant, traced=True)
    assert t is not None
    with pytest.raises(WhenceError, match=r"1\.0#2, which is the same pass run again, has one"):
        t.number("1.0[0,1].grad")
    assert t.number("1.0#2[0,1].grad").why().verdict in ("exact", "rounded")


def test_gradients_of_functions_are_offered_by_their_names():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)

    def step() -> Tensor:
        of = grad_and_value(lambda p: functional_call(model, p, (x,)).square().mean())
        gradients, _ = of(dict(model.named_parameters()))
        return gradients["weight"]

    with pytest.raises(WhenceError, match="of its shape, the backward pass made") as error:
        trace(step, model=model).number("weight[1,2].grad")
    name = str(error.value).rpartition("made ")[2].rstrip(".").split(", ")[0]
    t = trace(step, model=model)
    assert torch.equal(t[name].value, t.result)


def in_a_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_a_forward_pass_in_another_thread_is_said():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)

    def forward() -> Tensor:
        loss = in_a_thread(lambda: model(x)).square().mean()
        loss.backward()
        return loss

    t = trace(forward, model=model)
    receipt = t.number("output[0,1]").why()
    assert receipt.verdict == "not recorded"
    assert "another thread" in str(receipt)
    assert receipt.value == model(x)[0, 1].item()
    assert t.unseen() == ["output"]
    assert "made by operations that weren't recorded: output" in str(balance(t, numbers=50))


def test_what_another_thread_made_is_named_as_far_as_it_can_be_told():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)

    def loss_too() -> None:
        loss = in_a_thread(lambda: model(x).square().mean())
        loss.backward()

    def without_autograd() -> Tensor:
        with torch.no_grad():
            return in_a_thread(lambda: quietly(model)).tanh()

    def outside_of_modules() -> Tensor:
        y = in_a_thread(lambda: quietly(lambda x: x * 2))
        return y.tanh()

    def quietly(made: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad():  # autograd is off in each thread by itself
            return made(x)

    t = trace(loss_too, model=model)
    assert t.unseen() == ["output", "loss"]
    assert t.why("loss").verdict == "not recorded"
    assert model.weight.grad is not None
    assert t.why("weight[1,2].grad").value == model.weight.grad[1, 2].item()
    assert trace(without_autograd, model=model).unseen() == ["output"]
    t = trace(outside_of_modules)
    assert t.unseen() == []
    assert t.why("y[0,1]").verdict == "given"


def test_flexible_attention_with_gradients_is_refused_by_torch_traced_or_not():
    from torch.nn.attention.flex_attention import flex_attention

    q = torch.randn(1, 2, 8, 4, requires_grad=True)
    for step in (lambda: flex_attention(q, q, q), lambda: trace(lambda: flex_attention(q, q, q))):
        with pytest.raises(NotImplementedError, match="does not support backward on CPU"):
            step()
    still = q.detach()
    t = trace(lambda: flex_attention(still, still, still))
    assert torch.allclose(t.result, nn.functional.scaled_dot_product_attention(*[still] * 3))
    assert not t.closed()
    assert not balance(t, numbers=200, each=10).wrong


@pytest.mark.parametrize("asked", [False, True], ids=["backward", "autograd.grad"])
@pytest.mark.parametrize("pool", [False, True], ids=["its own thread", "a pool started before"])
def test_a_backward_pass_in_another_thread_opens(asked, pool):
    torch.manual_seed(0)
    model, x = plain(), torch.randn(2, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    workers = ThreadPoolExecutor(1)
    workers.submit(int).result()
    run = (lambda work: workers.submit(work).result()) if pool else in_a_thread

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        if asked:
            weights = list(model.parameters())
            gradients = run(lambda: torch.autograd.grad(loss, weights))
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
        else:
            run(loss.backward)
        optimizer.step()
        return loss

    t = trace(step, model=model, optimizer=optimizer)
    workers.shutdown()
    assert not t.unseen()
    assert t.losses
    assert not balance(t, numbers=300, each=10).wrong
    for name, weight in model.named_parameters():
        at = ",".join("1" * weight.ndim)
        assert weight.grad is not None
        assert torch.equal(t[name].grad.value, weight.grad)
        assert t.number(f"{name}[{at}].grad").why().verdict in ("exact", "rounded")
        assert t.number(f"{name}[{at}].update").why().verdict in ("exact", "rounded")


def test_two_threads_go_back_while_a_third_goes_forward():
    torch.manual_seed(0)
    models, x = nn.ModuleList([plain(), plain(), plain()]), torch.randn(2, 4)
    start = threading.Barrier(3)

    def work(loss: Tensor) -> None:
        start.wait()
        loss.backward()

    def step() -> Tensor:
        losses = [model(x).square().mean() for model in models[:2]]
        threads = [threading.Thread(target=work, args=(loss,)) for loss in losses]
        for thread in threads:
            thread.start()
        start.wait()
        last = models[2](x).square().mean()
        for thread in threads:
            thread.join()
        last.backward()
        return last

    t = trace(step, model=models)
    assert not t.unseen()
    assert not balance(t, numbers=300, each=10).wrong
    for name, weight in models.named_parameters():
        assert weight.grad is not None
        assert torch.equal(t[name].grad.value, weight.grad)
        at = ",".join("1" * weight.ndim)
        assert t.number(f"{name}[{at}].grad").why().verdict in ("exact", "rounded")
    assert {op.phase for op in t.ops if op.module.startswith("2.")} == {"forward"}
