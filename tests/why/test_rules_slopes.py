"""What a rule says each input counts for is the slope that torch's autograd finds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whence.errors import WhenceError
from whence.why import balance, trace
from whence.why.recording.storage import Ref
from whence.why.rules.open import open_element
from whence.why.rules.opening import Factor
from whence.why.rules.table import RULES

I = torch.tensor([[0, 2, 1], [3, 3, 0], [1, 0, 2], [2, 2, 3]])  # noqa: E741

# A formula that is linear in its first argument, and the shapes of all of them.
LINEAR: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "convolution": (lambda x, w: F.conv2d(x, w, None, 2, 1, 2), ((2, 3, 7, 7), (4, 3, 2, 3))),
    "convolution's kernel": (
        lambda w, x: F.conv1d(x, w, None, 2, 1, 1, 2), ((4, 2, 3), (2, 4, 7)),
    ),
    "grouped": (lambda x, w: F.conv2d(x, w, None, groups=2), ((1, 4, 5, 5), (6, 2, 3, 3))),
    "transposed": (
        lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, 1, 2), ((1, 4, 3, 3), (4, 3, 3, 3)),
    ),
    "average": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), ((2, 3, 7, 7),)),
    "adaptive average": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), ((2, 2, 7, 5),)),
    "bilinear": (lambda x: F.interpolate(x, (7, 9), mode="bilinear"), ((1, 2, 4, 5),)),
    "bicubic": (lambda x: F.interpolate(x, (7, 9), mode="bicubic"), ((1, 2, 4, 5),)),
    "reflected": (lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"), ((1, 2, 4, 5),)),
    "grid": (lambda x, g: F.grid_sample(x, g, align_corners=False), ((1, 2, 4, 5), (1, 3, 3, 2))),
    "folded": (lambda x: F.fold(x, (5, 5), 3), ((1, 18, 9),)),
    "batch norm, evaluated": (
        lambda x, m, v: F.batch_norm(x, m, v.square() + 0.5), ((4, 3, 5), (3,), (3,)),
    ),
    "scattered sum": (
        lambda y, x: x.scatter_reduce(0, I, y, "sum"), ((4, 3), (4, 3)),
    ),
    "scattered mean": (
        lambda y, x: x.scatter_reduce(0, I, y, "mean", include_self=False), ((4, 3), (4, 3)),
    ),
    "bag": (
        lambda w: F.embedding_bag(torch.tensor([1, 2, 2, 0]), w, torch.tensor([0, 3]), mode="mean"),
        ((3, 4),),
    ),
    "solved": (lambda b, a: torch.linalg.solve(a + 3 * torch.eye(4), b), ((4, 2), (4, 4))),
    "Fourier": (lambda x: torch.fft.rfft(x).real, ((2, 7),)),
}  # fmt: skip


def row(opened, source: Ref, origin: Tensor) -> np.ndarray:
    """Add up what an opened element takes of each element of a tensor."""
    total = np.zeros(origin.numel())
    for part in opened.parts:
        for k, factor in enumerate(part.factors):
            if not (isinstance(factor.cells, Ref) and factor.cells.version is source.version):
                continue
            slope = np.asarray(part.coefficient)
            for other in part.factors[:k] + part.factors[k + 1 :]:
                slope = slope * other.values
            at, slope = np.broadcast_arrays(factor.at, slope)
            valid = True if part.valid is None else part.valid
            np.add.at(total, at[0], np.where(valid, slope, 0.0)[0].real)
    return total


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.filterwarnings("ignore")
def test_coefficients_are_the_slopes_that_autograd_finds(name):
    formula, shapes = LINEAR[name]
    torch.manual_seed(0)
    x, *others = (torch.randn(shape) for shape in shapes)
    others = [o.clamp(-0.9, 0.9) if name == "grid" else o for o in others]

    t = trace(lambda: formula(x, *others))
    y = next(o.outputs[0] for o in reversed(t.ops) if o.outputs and o.outputs[0] is not None)
    exact = torch.autograd.functional.jacobian(
        lambda x: formula(x, *(o.double() for o in others)), x.double()
    ).reshape(-1, x.numel())
    source = t["x"].ref
    for at in range(0, y.numel, 7):
        opened, _ = open_element(y, at)
        while opened is not None and not _reads(opened, source):
            assert len(opened.parts) == 1
            inner = (opened.parts[0].factors or opened.parts[0].shared)[0]
            opened, _ = open_element(inner.cells, int(np.asarray(inner.at)[0, 0]))
        np.testing.assert_allclose(row(opened, source, x), exact[at].numpy(), atol=2e-6)


def _reads(opened, source: Ref) -> bool:
    factors: list[Factor] = [f for p in opened.parts for f in p.factors]
    return any(isinstance(f.cells, Ref) and f.cells.version is source.version for f in factors)


NORMS = {
    "batch": lambda: nn.BatchNorm2d(4),
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
}


@pytest.mark.parametrize("name", NORMS)
def test_the_gradient_of_a_norm_is_weighed_by_its_jacobian(name):
    torch.manual_seed(0)
    norm = NORMS[name]()
    x, g = torch.randn(3, 4, 2, 3, requires_grad=True), torch.randn(3, 4, 2, 3)

    def step():
        norm(x).backward(g)

    t = trace(step, model=norm)
    wide = NORMS[name]().double()
    exact = torch.autograd.functional.jacobian(wide, x.detach().double())
    exact = exact.reshape(g.numel(), g.numel())  # [y, x]
    gradient = t["x"].grad
    for at in (0, 17, 40, 71):
        opened, _ = open_element(gradient.ref, at)
        part = opened.parts[0]
        coefficient = np.asarray(part.coefficient)
        for factor in part.factors[1:]:
            coefficient = coefficient * factor.values
        found = np.zeros(g.numel())
        np.add.at(found, np.asarray(part.factors[0].at)[0], np.broadcast_to(
            coefficient, np.asarray(part.factors[0].at).shape)[0])  # fmt: skip
        np.testing.assert_allclose(found, exact[:, at].numpy(), atol=3e-6)


BROKEN = {
    "convolution": lambda x: F.conv2d(x[:, None], torch.ones(1, 1, 2, 2)),
    "native_batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "avg_pool2d": lambda x: F.avg_pool2d(x[None], 2),
    "upsample_bilinear2d": lambda x: F.interpolate(x[None], scale_factor=2.0, mode="bilinear"),
    "elu": F.elu,
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, x.flip(0)),
    "cumprod": lambda x: x.cumprod(0),
    "scatter_reduce": lambda x: x[0].scatter_reduce(0, I[0][:, None].expand(3, 4), x[1], "mean"),
}


@pytest.mark.parametrize("operation", BROKEN)
@pytest.mark.filterwarnings("ignore")
def test_a_rule_that_is_one_percent_off_is_caught(monkeypatch, operation):
    torch.manual_seed(0)
    x = torch.rand(3, 5, 4) + 0.5
    t = trace(lambda: BROKEN[operation](x))
    assert not balance(t).wrong
    right = RULES[operation]

    def broken(call, at):
        opened = right(call, at)
        first = opened.parts[0]
        part = replace(first, value=first.terms() * 1.01)
        return replace(opened, parts=[part, *opened.parts[1:]])

    monkeypatch.setitem(RULES, operation, broken)
    assert balance(t).wrong


def test_running_statistics_are_written_and_opened():
    torch.manual_seed(0)
    norm, x = nn.BatchNorm1d(3), torch.randn(6, 3)
    expected = 0.9 * torch.ones(3) + 0.1 * x.var(0)
    t = trace(lambda: norm(x).sum(), model=norm)
    receipt = t.why("native_batch_norm.4[1]")
    assert receipt.value == norm.running_var[1].item()
    assert receipt.total == pytest.approx(expected[1].item(), rel=1e-6)
    assert len(receipt.terms) > 1


def test_a_conjugate_is_read_as_one():
    z = torch.tensor([1 + 2j, 3 - 1j])
    t = trace(lambda: z.conj() * torch.tensor([1j, 2.0]))
    assert not balance(t).wrong


def test_a_complex_number_has_no_receipt_but_its_parts_have():
    z = torch.tensor([1 + 2j, 3 - 1j])

    def step():
        product = z * z
        parts = torch.view_as_real(product)
        return parts * 1

    t = trace(step)
    with pytest.raises(WhenceError, match="is a complex number"):
        t.why("product[1]")
    assert [t.why(f"parts[1,{k}]").value for k in (0, 1)] == [8.0, -6.0]
    assert t.why("parts[1,1]").total == -6.0


def test_an_edit_behind_the_step_s_back_is_noticed():
    x = torch.ones(4)

    def step():
        y = x * 2
        y.numpy()[1] = 9
        return y + 1

    wrong = balance(trace(step)).wrong
    assert len(wrong) == 1
    assert wrong[0].startswith("y[1] = 9")


def test_what_only_a_wrong_kernel_could_leave_does_not_add_up():
    """Leave a parameter where it was, as a fused optimizer of torch 2.13 does in bfloat16."""
    w = torch.nn.Parameter(torch.randn(20) * 1e-3)
    optimizer = torch.optim.SGD([w], lr=0.1, fused=True)

    def step():
        optimizer.zero_grad()
        (w * torch.arange(20.0)).sum().backward()
        kept = w.detach().clone()
        optimizer.step()
        w.detach().numpy()[:16] = kept.numpy()[:16]

    wrong = balance(trace(step)).wrong
    assert len(wrong) == 15  # the first one's gradient is 0
    assert all(address.startswith("w[") for address in wrong)


def test_sparse_numbers_are_refused_by_a_sentence_and_do_not_end_the_balance():
    table, ids = nn.Embedding(5, 2, sparse=True), torch.tensor([1, 3])

    def step():
        table(ids).sum().backward()
        table(ids).sum().backward()

    found = balance(trace(step, model=table))
    assert found.numbers
    assert all("isn't recorded" in reason for row in found.rows for reason in row.refused)


def test_a_multiple_of_nothing_is_added_up():
    x, y = torch.randn(3, 4), torch.randn(3, 4)

    def step() -> list[torch.Tensor]:
        a = torch.add(x, y, alpha=0)
        b = torch.sub(x, y, alpha=0.0)
        c = [x.clone()]
        torch._foreach_add_(c, [y], alpha=0)
        return [a, b, *c]

    t = trace(step)
    for result in t.result:
        assert torch.equal(result, x)
    assert not balance(t, numbers=100, each=100).wrong


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_tensors_in_chunks_side_by_side_open(chunks):
    a, b = torch.randn(5, 3), torch.randn(4, 2, 2)

    def step() -> torch.Tensor:
        return torch._chunk_cat([a, b], 0, chunks)

    t = trace(step)
    assert not t.closed()
    found = balance(t, numbers=200, each=200)
    assert found.numbers == t.result.numel()
    assert not found.wrong


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_the_update_of_a_complex_number_is_refused_and_not_called_wrong(make):
    """Its real part alone would be told, and said not to add up."""
    model = nn.Module()
    model.w = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j]))
    optimizer = make(model.parameters(), lr=0.1)

    def step():
        loss = (model.w * model.w.conj()).real.sum()
        loss.backward()
        optimizer.step()

    before = model.w.detach().clone()
    t = trace(step, model=model, optimizer=optimizer)
    for name in ("w[1]", "w[1].grad", "w[1].update"):
        with pytest.raises(WhenceError, match="is a complex number"):
            t.number(name).why()
    assert torch.equal(t["w"].update.value, (model.w.detach() - before).to(torch.complex128))
