"""A recorded graph gives the bits of the plain one, and is recorded again when it must be."""

import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from whence.errors import WhenceError
from whence.scalar import (
    MLP,
    SGD,
    Matrix,
    Module,
    NotFiniteWarning,
    Value,
    cross_entropy,
    dot,
    highest,
    jit,
    maximum,
    mean,
    pick,
    softmax,
    total,
)
from whence.scalar.compiled.replay import SlowWarning
from whence.train.loop import train


class Plain(Module):
    """Parameters without a formula of their own."""

    def __init__(self, *numbers):
        self.p = [Value(x) for x in numbers]

    def parameters(self):
        return self.p


def bits(x):
    return "nan" if x != x else float(x).hex()


def outcome(loss, model, batch):
    """A loss's bits and those of its gradients."""
    for p in model.parameters():
        p.grad = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        out = loss(model, batch)
        out.backward()
    return bits(out.data), [bits(p.grad) for p in model.parameters()]


def agree(loss, model, batches):
    """Compare compiled with plain for each batch, moving the parameters in between."""
    fast = jit(loss)
    for batch in batches:
        assert outcome(fast, model, batch) == outcome(loss, model, batch)
        for i, p in enumerate(model.parameters()):
            p.data += 0.01 * (i + 1)
    return fast


def chain_mlp(model, x):
    """The moons network as micrograd writes it: + and · alone."""
    k = 0
    for width_in, width_out in ((2, 6), (6, 6), (6, 1)):
        out = []
        for _ in range(width_out):
            w, b = model.p[k : k + width_in], model.p[k + width_in]
            k += width_in + 1
            out.append(sum((wi * xi for wi, xi in zip(w, x, strict=True)), b))
        x = [v.relu() for v in out] if width_out > 1 else out
    return x[0]


def moons(model, batch):
    losses = [(1 + -y * chain_mlp(model, x)).relu() for x, y in batch]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.p)


def points(n, seed=0):
    draw = random.Random(seed)
    return [([draw.gauss(0, 1), draw.gauss(0, 1)], draw.choice([-1, 1])) for _ in range(n)]


def test_the_moons_network_to_the_bit():
    draw = random.Random(0)
    model = Plain(*(draw.uniform(-1, 1) for _ in range(67)))
    fast = agree(moons, model, [points(20, seed) for seed in range(5)])
    assert fast.recordings == 1
    (recording,) = fast.tapes[next(iter(fast.tapes))]
    # 20 samples · (13 sums and 12 relus), losses and the sum of squares: chains were taken in
    assert len(recording.tape.program.rows) < recording.tape.nodes / 4


def test_our_own_mlp_and_matrices_to_the_bit():
    random.seed(2)
    agree(
        lambda model, batch: mean((model(x) - y) ** 2 for x, y in batch),
        MLP(2, [5, 5, 1]),
        [points(7, seed) for seed in range(3)],
    )

    def loss(model, batch):
        x, y = Matrix(batch[0]), batch[1]
        w = Matrix([model.p[:3], model.p[3:6]])
        h = (x @ w).tanh() * x.sum(1) / 2.0
        return total(cross_entropy(row, int(t)) for row, t in zip(h.rows, y, strict=True))

    batch = ([[0.1, 0.2], [0.3, -0.4]], ["0", "2"])
    agree(loss, Plain(0.1, 0.2, -0.3, 0.4, 0.5, -0.6), [batch] * 3)


def test_a_chain_is_left_alone_where_taking_it_in_would_change_the_order_of_adding():
    def loss(model, x):
        p = model.p[0]
        y = p * x[0]
        for a, b in pairwise(x):
            y = y + p * (p * a).tanh()
            y = y + p * b
        return y

    draw = random.Random(0)
    batches = [[draw.gauss(0, 1) for _ in range(12)] for _ in range(4)]
    agree(loss, Plain(0.7), batches)


unary = st.sampled_from(["exp", "log", "tanh", "relu", "sigmoid", "sqrt", "abs", "neg", "detach"])
binary = st.sampled_from(["+", "-", "*", "/", "**", "max", "min", "dot", "sum", "const", "held"])
programs = st.lists(
    st.tuples(unary | binary, st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=30
)
numbers = st.floats(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 1e200, -1e-200])


def built(program):
    def loss(model, batch):
        made = [*model.p, *batch]
        for name, i, j in program:
            a, b = made[i % len(made)], made[j % len(made)]
            a = a if isinstance(a, Value) else Value(a)
            if name in ("exp", "log", "tanh", "relu", "sigmoid", "sqrt", "detach"):
                out = getattr(a, name)()
            elif name == "abs":
                out = abs(a)
            elif name == "neg":
                out = -a
            elif name == "dot":
                out = dot(made[-3:], made[:3][::-1] if len(made) >= 3 else made[-3:], a)
            elif name == "sum":
                out = total([a, b, a])
            elif name == "held":
                out = total([a.max(b), b]).detach() * b
            elif name == "const":
                out = 3 - a * 2
            elif name in ("max", "min"):
                out = getattr(a, name)(b)
            else:
                out = {
                    "+": lambda x, y: x + y,
                    "-": lambda x, y: x - y,
                    "*": lambda x, y: x * y,
                    "/": lambda x, y: x / y,
                    "**": lambda x, y: x**y,
                }[name](a, b)
            made.append(out)
        return made[-1]

    return loss


@settings(max_examples=200, deadline=None)
@given(program=programs, p=st.lists(numbers, min_size=3, max_size=3), data=st.data())
def test_random_graphs_to_the_bit(program, p, data):
    batches = [data.draw(st.lists(numbers, min_size=2, max_size=2)) for _ in range(3)]
    fast = agree(built(program), Plain(*p), batches)
    assert fast.recordings == 1


def test_inputs_that_are_values_get_their_gradients():
    x, model = Value(3.0), Plain(2.0)
    fast = jit(lambda model, batch: batch[0] * batch[0] * model.p[0] + batch[1])
    for _ in range(2):
        x.grad = 0.0
        fast(model, [x, 1.0]).backward()
        assert x.grad == 12.0
        x.data = 3.0


def test_an_upstream_gradient_is_passed_on():
    model = Plain(2.0)
    fast = jit(lambda model, x: model.p[0] * x)
    (fast(model, 3.0) * 0.5 + fast(model, 5.0)).backward()
    assert model.p[0].grad == 6.5


def test_a_branch_on_a_number_is_recorded_again():
    def loss(model, x):
        return model.p[0] * x if x > 0 else model.p[0] * model.p[0] - x

    fast = agree(loss, Plain(2.0), [1.0, 2.0, -1.0, 3.0, -2.0, 0.0])
    assert fast.recordings == 2


def test_a_branch_on_what_was_computed_is_recorded_again():
    def loss(model, x):
        h = model.p[0] * x
        if h - 1.0 > model.p[1]:  # a number that the loss itself doesn't use
            return h * 2.0
        return max(h, model.p[1], key=lambda v: v.data)

    agree(loss, Plain(2.0, 0.5), [1.0, -1.0, 0.5, 0.6, 4.0, -3.0, 0.1])


@pytest.mark.parametrize(
    "look",
    [
        lambda v: v.data > 0,
        lambda v: float(v) > 0,
        lambda v: int(v) > 0,
        lambda v: v >= 0.5,
        lambda v: not v <= 0.5,
        lambda v: v < 1,
        lambda v: v == 1.0,
        lambda v: v != 1.0,
        lambda v: Value(v).data > 0,
        lambda v: maximum([v, 0.5]).data > 0.5,
        *(
            lambda v, made=made: made(v).data > 0.5
            for made in (
                lambda v: v + 0.0,
                lambda v: 0.0 + v,
                lambda v: v * 1.0,
                lambda v: Value(1.0) * v,
                lambda v: v - 0.0,
                lambda v: v / 1.0,
                lambda v: v**1.0,
                lambda v: -(v * -1.0),
                lambda v: v.relu().sqrt(),
                lambda v: total([v, 0.0]),
                lambda v: sum([v, v], v) / 3.0,
                lambda v: Value.__add__(v, 0.0),
                lambda v: v.max(0.0).min(9.0),
                lambda v: v.detach(),
            )
        ),
    ],
)
def test_every_way_to_look_at_a_number_is_noticed(look):
    def loss(model, x):
        return model.p[0] * (3.0 if look(x) else 5.0)

    agree(loss, Plain(2.0), [Value(x) for x in (1.0, 2.0, 0.0, 1.0, 3.0)])


def test_an_index_into_a_plain_list_is_noticed():
    fast = agree(lambda model, i: model.p[0] * [5, 6, 7][i], Plain(2.0), [1, 2, 0, 1, 2])
    assert fast.recordings == 3


def test_numbers_held_fixed_are_followed_wherever_they_come_from():
    def loss(model, x):
        fixed = [
            total([model.p[0], x]),
            dot(model.p, [x, x]),
            Value(0.0).max(x),
            highest([0.0, x]),
            pick([1.0, x], 1),
            2.0**x,
            Value(2.0) * x,
        ]
        return model.p[0] * mean(v.detach() for v in fixed)

    fast = agree(loss, Plain(2.0, 3.0), [Value(x) for x in (1.0, 2.0, -3.0)])
    assert fast.recordings == 1


def test_looking_at_a_parameter_is_noticed():
    def loss(model, x):
        return model.p[0] * x * (10.0 if model.p[0].data > 2.015 else 1.0)

    agree(loss, Plain(2.0), [1.0, 1.0, 1.0, 1.0])


def test_values_that_a_loss_closes_over_are_followed():
    scale = Value(2.0)
    model = Plain(3.0)
    fast = jit(lambda model, x: model.p[0] * x * scale)
    assert fast(model, 1.0).data == 6.0
    scale.data = 10.0
    out = fast(model, 1.0)
    assert (out.data, fast.recordings) == (30.0, 1)
    out.backward()
    assert scale.grad == 3.0


def test_a_loss_that_is_not_a_function_of_what_it_is_given_is_found_out():
    count = [0.0]

    def loss(model, x):
        count[0] += 1.0
        return model.p[0] * x * count[0]

    fast = jit(loss)
    model = Plain(3.0)
    fast(model, 1.0)
    with pytest.raises(WhenceError, match="uses numbers that it is not given"):
        fast(model, 1.0)


def test_setting_a_parameter_inside_a_loss_is_refused():
    def loss(model, x):
        model.p[0].data = 1.0
        return model.p[0] * x

    model = Plain(3.0)
    with pytest.raises(WhenceError, match="was set while a graph was being recorded"):
        jit(loss)(model, 1.0)
    assert type(model.p[0]) is Value


def test_another_shape_is_another_graph():
    fast = jit(lambda model, rows: total(model.p[0] * x for x in rows))
    model = Plain(2.0)
    assert [fast(model, [1.0] * n).data for n in (1, 2, 3, 2, 1)] == [2, 4, 6, 4, 2]
    assert fast.recordings == 3


def test_all_kinds_of_batches():
    def loss(model, batch):
        x = batch["x"][0, 1] * batch["m"][0, 0] + batch["pair"][1]
        return x * model.p[0] if batch["name"] == "a" and batch["flag"] else x

    batch = {
        "x": np.array([[1.0, 2.0]]),
        "m": Matrix([[3.0]]),
        "pair": (1, 2.5),
        "name": "a",
        "flag": True,
        "none": None,
    }
    model = Plain(2.0)
    fast = jit(loss)
    assert fast(model, batch).data == 17.0
    assert fast(model, batch | {"name": "b"}).data == 8.5
    assert fast(model, batch | {"x": np.array([[Value(1.0), Value(3.0)]])}).data == 23.0
    with pytest.raises(WhenceError, match="a batch that holds a set"):
        fast(model, {1.0})
    with pytest.raises(WhenceError, match="array of"):
        fast(model, np.array(["a"]))
    with pytest.raises(WhenceError, match="must return a Value"):
        jit(lambda model, x: 3.0)(model, 1.0)


def test_picks_follow_their_index():
    def loss(model, batch):
        index, other = batch
        return cross_entropy(model.p, index) + pick(model.p, other) * pick([index, other, 2.0], 1)

    model = Plain(0.1, 0.7, -0.3)
    fast = agree(loss, model, [(0, 1), (2, 2), (1, 0)])
    assert fast.recordings == 1
    with pytest.raises(WhenceError, match="is not one of 0 … 2"):
        fast(model, (3, 0))


def test_graphs_that_keep_changing_are_told_of():
    fast = jit(lambda model, x: model.p[0] * x.data)
    model = Plain(2.0)
    for k in range(31):
        assert fast(model, float(k)).data == 2.0 * k
    with pytest.warns(SlowWarning, match="recorded a new graph"):
        fast(model, 31.0)


def test_in_the_one_loop():
    random.seed(0)
    model = MLP(2, [4, 1])
    start = [p.data for p in model.parameters()]
    batches = {step: [(1.0, points(4, step))] for step in range(20)}

    def loss(model, batch):
        return mean((model(x) - y) ** 2 for x, y in batch)

    runs = []
    for fn in (loss, jit(loss)):
        for p, x in zip(model.parameters(), start, strict=True):
            p.data = x
        losses = [
            s.loss.data for s in train(model, batches, fn, SGD(model.parameters(), 0.05), range(20))
        ]
        runs.append((losses, [p.data for p in model.parameters()]))
    assert runs[0] == runs[1]


# --- side by side --------------------------------------------------------------------------------


def agree_each(loss, model, samples, recordings=1):
    """Compare with the mean over plain losses: losses to the bit, gradients to rounding."""
    fast = jit(loss, each=True)
    for _ in range(3):
        ours, gradients = outcome(fast, model, samples)
        rows = list(zip(*samples, strict=True)) if isinstance(samples, tuple) else samples
        theirs, expected = outcome(
            lambda model, rows: mean(loss(model, row) for row in rows), model, rows
        )
        assert ours == theirs
        got, want = ([float.fromhex(x) for x in xs] for xs in (gradients, expected))
        assert got == pytest.approx(want, rel=1e-12, abs=1e-13)
        for i, p in enumerate(model.parameters()):
            p.data += 0.01 * (i + 1)
    assert fast.recordings == recordings
    return fast


@pytest.mark.parametrize("n", [1, 15, 16, 17, 40])
def test_the_moons_network_side_by_side(n):
    def loss(model, sample):
        x, y = sample
        return (1 + -y * chain_mlp(model, x)).relu() + 1e-4 * sum(p * p for p in model.p)

    draw = random.Random(0)
    model = Plain(*(draw.uniform(-1, 1) for _ in range(67)))
    agree_each(loss, model, points(n))
    arrays = (np.array([x for x, _ in points(n)]), np.array([y for _, y in points(n)]))
    agree_each(loss, model, arrays)


def test_two_threads_replay_one_graph_without_meeting():
    def loss(model, sample):
        return (sample[0] * model.p[0] + sample[1] * model.p[1]).tanh()

    function, parameters, numbers = jit(loss, each=True).arrays(
        Plain(0.5, -0.25), [[float(i % 7), float(i % 5)] for i in range(100_000)]
    )
    alone = [function(parameters * k, numbers) for k in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = pool.map(lambda k: function(parameters * k, numbers), range(1, 9))
            for (value, gradient), (expected, slopes) in zip(found, alone, strict=True):
                assert value == expected
                assert np.array_equal(gradient, slopes)


@settings(max_examples=100, deadline=None)
@given(program=programs, p=st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_random_graphs_side_by_side(program, p):
    draw = random.Random(1)
    rows = [[draw.gauss(0, 1), draw.gauss(0, 1)] for _ in range(20)]
    loss, model = built(program), Plain(*p)
    fast = jit(loss, each=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        out = fast(model, rows)
        plain = mean(loss(model, row) for row in rows)
    assert bits(out.data) == bits(plain.data)
    ours = outcome(fast, model, rows)[1]
    theirs = outcome(lambda model, rows: mean(loss(model, r) for r in rows), model, rows)[1]
    for a, b in zip(ours, theirs, strict=True):
        if "nan" in (a, b) or "inf" in (a, b, a[1:], b[1:]):
            continue  # ∞ − ∞ depends on the order of adding
        x, y = float.fromhex(a), float.fromhex(b)
        assert x == pytest.approx(y, rel=1e-6, abs=1e-9) or max(abs(x), abs(y)) > 1e12


def test_samples_that_branch_go_to_graphs_of_their_own():
    def loss(model, sample):
        x, y = sample
        if x > 0.5:
            return (model.p[0] * x - y) ** 2
        if x > -0.5:
            return model.p[1] * x * x
        return (model.p[0] * model.p[1] - x).exp() * 0.1

    agree_each(loss, Plain(0.3, 0.4), [(x, y) for (x, _), y in points(50)], recordings=3)


def test_samples_of_several_lengths():
    def loss(model, row):
        h = model.p[0]
        for x in row:
            h = (h * model.p[1] + x).tanh()
        return h

    draw = random.Random(0)
    rows = [[draw.gauss(0, 1) for _ in range(draw.choice([1, 3, 5]))] for _ in range(30)]
    agree_each(loss, Plain(0.3, 0.4), rows, recordings=3)


def test_picks_side_by_side():
    def loss(model, sample):
        token, target = sample
        table = [[model.p[0], model.p[1]], [model.p[2], model.p[3]], [model.p[4], model.p[5]]]
        h = [pick([row[k] for row in table], token).tanh() for k in range(2)]
        logits = [dot(row, h) for row in table]
        return cross_entropy(logits, target) + pick(softmax(logits), target)

    draw = random.Random(3)
    samples = [(draw.randrange(3), draw.randrange(3)) for _ in range(37)]
    fast = agree_each(loss, Plain(0.1, -0.2, 0.3, 0.4, -0.5, 0.6), samples)
    with pytest.raises(WhenceError, match="is not one of"):
        fast(Plain(0.1, -0.2, 0.3, 0.4, -0.5, 0.6), [*samples, (7, 0)])


def test_a_loss_that_no_input_reaches():
    agree_each(lambda model, x: model.p[0] * 2.0, Plain(3.0), [1.0, 2.0, 3.0])


def test_what_cannot_be_side_by_side():
    fast = jit(lambda model, x: model.p[0] * x, each=True)
    with pytest.raises(WhenceError, match="no samples"):
        fast(Plain(1.0), [])
    with pytest.raises(WhenceError, match="plain numbers, not Values"):
        fast(Plain(1.0), [Value(1.0)])
    with pytest.raises(WhenceError, match="a row for each sample"):
        fast(Plain(1.0), (np.zeros(2), np.zeros(3)))


def test_the_largest_as_a_chain_can_be_followed():
    fast = agree(lambda model, row: highest(row) * model.p[0], Plain(2.0), [[1.0, 2.0], [4.0, 3.0]])
    assert fast.recordings == 1


def test_replay_receipts():
    model = Plain(2.0)
    fast = jit(lambda model, x: model.p[0] * x)
    out = fast(model, 3.0)
    receipt = model.p[0].why(of=out)
    assert receipt.value == 3.0
    assert "recorded graph" in str(out.why())


def test_a_function_of_arrays():
    def loss(model, sample):
        x, y = sample
        return (model.p[0] * x + model.p[1] - y) ** 2 if y < 2 else model.p[0] * x

    model = Plain(0.5, -1.0)
    samples = [(1.0, 1.5), (2.0, -1.0), (0.5, 0.5)]
    plain = mean(loss(model, row) for row in samples)
    plain.backward()
    whole = jit(lambda model, rows: mean(loss(model, row) for row in rows))
    each = jit(loss, each=True)
    for fast in (whole, each):
        function, parameters, numbers = fast.arrays(model, samples)
        found, gradient = function(parameters, numbers)
        assert found == pytest.approx(plain.data, rel=1e-15)
        assert gradient.tolist() == pytest.approx([p.grad for p in model.p], rel=1e-14)
        moved, _ = function(parameters + 1.0, numbers)
        assert moved != found
        with pytest.raises(WhenceError, match="builds another graph"):
            function(parameters, numbers * 0 + 3.0)
    with pytest.raises(WhenceError, match="builds another graph"):
        jit(lambda model, row: model.p[0] * row[0], each=True).arrays(model, [[1.0], [1.0, 2.0]])
