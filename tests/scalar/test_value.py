"""`Value` against torch in float64, the figures worked by hand, and what others get wrong."""

import math
import warnings

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from whence.scalar import NotFiniteWarning, Value

UNARY = ["exp", "log", "tanh", "relu", "sigmoid", "sqrt", "abs", "neg"]
BINARY = ["+", "-", "*", "/", "**", "max", "min"]


def apply(name, *xs):
    """One operation, spelled so that a Value and a tensor can both take it."""
    a = xs[0]
    if name in ("max", "min"):
        b = xs[1]
        if isinstance(a, torch.Tensor):
            return (torch.maximum if name == "max" else torch.minimum)(a, torch.as_tensor(b))
        return a.max(b) if name == "max" else a.min(b)
    if name == "neg":
        return -a
    if len(xs) == 1:
        return getattr(a, name)()
    b = xs[1]
    return {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: a / b,
        "**": lambda: a**b,
    }[name]()


def tensor(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def same(ours, theirs):
    if math.isnan(theirs):
        return math.isnan(ours)
    return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-13, abs_tol=1e-300)


def compare(name, *numbers):
    values = [Value(x) for x in numbers]
    tensors = [tensor(x) for x in numbers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        out = apply(name, *values)
        out.backward()
    expected = apply(name, *tensors)
    expected.backward()
    assert same(out.data, expected.item()), (name, numbers)
    for v, t, x in zip(values, tensors, numbers, strict=True):
        assert same(v.grad, t.grad.item()), (name, numbers, x, v.grad, t.grad.item())


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("x", [-2.5, -1e-3, 0.0, 1e-9, 0.7, 3.0, 40.0, -800.0, 800.0, 1e300])
def test_unary_equals_torch_at_the_edges_too(name, x):
    compare(name, x)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("x", [-2.0, 0.0, 0.5, 2.0, 1e200])
@pytest.mark.parametrize("y", [-2.0, -0.5, 0.0, 0.5, 2.0, 3.0, 1e200])
def test_binary_equals_torch_at_the_edges_too(name, x, y):
    compare(name, x, y)


numbers = st.floats(-4, 4, allow_nan=False).filter(lambda x: abs(x) > 1e-3)


@given(name=st.sampled_from(BINARY), x=numbers, y=numbers)
def test_binary_equals_torch(name, x, y):
    compare(name, x, y)


@given(name=st.sampled_from(UNARY), x=numbers)
def test_unary_equals_torch(name, x):
    compare(name, x)


steps = st.lists(
    st.tuples(st.sampled_from(BINARY[:4] + UNARY[:5] + BINARY[5:]), st.integers(0), st.integers(0)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150)
@given(leaves=st.lists(numbers, min_size=1, max_size=5), program=steps)
def test_random_graphs_equal_torch(leaves, program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        runs = []
        for make in (Value, tensor):
            made = [make(x) for x in leaves]
            for name, i, j in program:
                a, b = made[i % len(made)], made[j % len(made)]
                if name in ("exp", "tanh", "sigmoid", "relu"):
                    out = apply(name, a * 0.1)
                elif name == "log":
                    out = (a * a + 1.0).log()
                elif name == "/":
                    out = a / (b * b + 1.0)
                else:
                    out = apply(name, a, b) * 0.5
                made.append(out)
            made[-1].backward()
            runs.append((made[-1], made[: len(leaves)]))
    (out, ours), (expected, theirs) = runs
    assert math.isclose(out.data, expected.item(), rel_tol=1e-12, abs_tol=1e-12)
    for v, t in zip(ours, theirs, strict=True):
        want = t.grad.item() if t.grad is not None else 0.0
        assert math.isclose(v.grad, want, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(v.grad) and math.isnan(want)
        )


def test_the_notes_first_example():
    a, b = Value(2), Value(3)
    c = a * b
    d = c + 1
    loss = d**2
    loss.backward()
    assert (c.data, d.data, loss.data) == (6, 7, 49)
    assert (a.grad, b.grad) == (42, 28)


def test_numbers_on_either_side():
    x = Value(3.0)
    assert [v.data for v in (1 + x, 1 - x, 2 * x, 6 / x, 2**x, +x)] == [4, -2, 6, 2, 8, 3]
    import numpy as np

    assert isinstance(np.int64(2) * x, Value)
    assert (np.float64(2) * x).data == 6.0
    assert [v.data for v in np.array([1.0, 2.0]) * x] == [3.0, 6.0]
    assert type(Value(np.float64(1.5)).data) is float
    x.data = np.float64(2.5)
    assert type(x.data) is float


def test_what_is_no_number_is_refused():
    for wrong in ("3", None, [1]):
        with pytest.raises(TypeError):
            Value(1) + wrong
        with pytest.raises(TypeError):
            Value(1) ** wrong
        with pytest.raises(TypeError):
            wrong - Value(1)
    with pytest.raises(ValueError, match="two"):
        Value("two")
    with pytest.raises(TypeError):
        assert Value(1) < "2"


def test_comparisons():
    a, b = Value(1), Value(2)
    assert a < b
    assert a <= 1
    assert b > 1.5
    assert b >= a
    assert a == 1
    assert a != b
    assert a != "1"
    assert len({Value(1), Value(1)}) == 2  # hashed by what it is
    assert max(a, b) is b
    assert min([a, b]) is a
    assert float(b) == 2.0


def test_backward_twice_adds_up_in_leaves_as_in_torch():
    x, t = Value(3.0), tensor(3.0)
    h, k = x * x, t * t
    y, z = h * h, k * k
    for _ in range(2):
        y.backward()
        z.backward(retain_graph=True)
    assert x.grad == t.grad.item() == 216.0
    assert h.grad == 18.0  # numbers in between hold the latest gradient


def test_two_losses_over_one_graph():
    x, t = Value(3.0), tensor(3.0)
    h, k = x * 2, t * 2
    (h * h).backward()
    (h + 1).backward()
    (k * k).backward(retain_graph=True)
    (k + 1).backward()
    assert x.grad == t.grad.item()


def test_a_leaf_is_its_own_derivative():
    x = Value(3.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_a_chain_of_a_million_operations():
    x = Value(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + x
    y.backward()
    assert x.grad == 1_000_001.0
    del y  # freed without recursion too


def test_a_node_used_many_times_costs_once():
    # 2⁶⁰ paths, 60 nodes: a backward pass that walked paths would never end.
    x = Value(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_slopes_are_those_of_the_forward_pass():
    w, x = Value(2.0), Value(3.0)
    y = w * x
    w.data = 100.0
    x.data = 100.0
    y.backward()
    assert (w.grad, x.grad) == (3.0, 2.0)


def test_zero_grad_and_detach():
    x = Value(3.0)
    y = x * x
    y.backward()
    y.zero_grad()
    assert (x.grad, y.grad) == (0.0, 0.0)
    z = y.detach() * x
    z.backward()
    assert x.grad == 9.0
    assert y.detach().inputs == ()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p.log(), "ln(p) gave -inf: ln(0.0)"),
        (lambda p: p**-1, "p ^ (-1.0) gave inf: 0.0 ^ (-1.0)"),
        (lambda p: 1 / p, "1.0 / p gave inf: 1.0 / 0.0"),
        (lambda p: p / p, "p / p gave nan: 0.0 / 0.0"),
        (lambda p: (p - 2) ** 0.5, "gave nan"),
        (lambda p: (p - 2).sqrt(), "gave nan"),
        (lambda p: (p + 1000).exp(), "exp(p + 1000.0) gave inf: exp(1000.0)"),
        (lambda p: (p + 1e200) * 1e200, "gave inf"),
        (lambda p: (p + 1e200) ** 2, "gave inf"),
    ],
)
def test_leaving_the_numbers_warns_with_the_name(make, says):
    with pytest.warns(NotFiniteWarning) as caught:
        make(Value(0.0, label="p"))
    assert len(caught) == 1
    assert says in str(caught[0].message)
    assert caught[0].filename == __file__


def test_the_warning_comes_once_where_it_begins():
    with pytest.warns(NotFiniteWarning) as caught:
        ((Value(0.0).log() * 2 + 1) ** 2).backward()
    assert len(caught) == 1


def test_ieee_signs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        assert (Value(-1.0) / Value(0.0)).data == -math.inf
        assert (Value(1.0) / Value(-0.0)).data == -math.inf
        assert (Value(-0.0) ** -1).data == -math.inf
        assert (Value(-0.0) ** -2).data == math.inf
        assert (Value(-0.0) ** -0.96).data == math.inf
        assert (Value(-10.0) ** 309).data == -math.inf
        assert math.isnan((Value(-8.0) ** (1 / 3)).data)


def test_micrograds_names():
    a, b = Value(2), Value(3)
    c = a * b
    assert c._op == "*"
    assert c._prev == {a, b}
    assert a._prev == set()
    assert repr(a) == "Value(data=2.0, grad=0.0)"


@pytest.mark.parametrize("name", UNARY + BINARY)
def test_what_no_backward_reached_has_a_gradient_of_zero(name):
    """As torch's zeros, where its `.grad` isn't None."""
    a, b = Value(2.0), Value(3.0)
    aside = apply(name, a) if name in UNARY else apply(name, a, b)
    assert aside.grad == 0
    (a * b).backward()
    assert (aside.grad, a.grad, b.grad) == (0, 3, 2)
