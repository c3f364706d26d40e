"""Receipts of `Value`s: what they print, and that they add up to the bit."""

import html
import json
import random
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from whence.errors import WhenceError
from whence.scalar import MLP, SGD, Value, dot, total
from whence.scalar.draw import draw
from whence.scalar.explain import uses


def added(receipt):
    x = 0.0
    for term in receipt.terms:
        x += term.value
    return x


def test_a_value_prints_formula_operands_and_result():
    a, b = Value(2, label="a"), Value(3, label="b")
    d = a * b + 1
    d.label = "d"
    assert str(d.why()).splitlines() == [
        "d = 7",
        "  = a · b + 1",
        "  = 2 · 3 + 1",
        "    6  ████████████   86 %  a · b = 2 · 3",
        "    1  ██             14 %  1",
        "  exact: the terms add up to every digit",
    ]


def test_a_gradient_prints_every_use():
    x, w = Value(3.0, label="x"), Value(2.0, label="w")
    p, q = w * x, w * w
    p.label, q.label = "p", "q"
    loss = p * q
    loss.label = "loss"
    loss.backward()
    receipt = w.why(of=loss)
    assert [(t.value, t.detail) for t in receipt.terms] == [
        (12.0, "6.0 · 2.0"),
        (12.0, "6.0 · 2.0"),
        (12.0, "4.0 · 3.0"),
    ]
    assert receipt.value == w.grad == added(receipt) == 36.0
    assert {t.label for t in receipt.terms} == {"∂loss/∂p · ∂p/∂w", "∂loss/∂q · ∂q/∂w"}
    assert receipt.notes == ()


def test_each_use_opens_one_level_down():
    a, b = Value(2, label="a"), Value(3, label="b")
    c = a * b
    c.label = "c"
    loss = (c + 1) ** 2
    loss.label = "loss"
    loss.backward()
    receipt = a.why(of=loss, depth=2)
    assert receipt.terms[0].opened[0].address == "c.grad"
    assert receipt.terms[0].opened[0].value == c.grad == 14.0
    assert "∂loss/∂c" in str(receipt)


def test_receipts_are_of_the_forward_pass():
    w, x = Value(2.0, label="w"), Value(3.0, label="x")
    y = w * x + w
    y.backward()
    before = (str(y.why()), str(w.why(of=y)))
    SGD([w], learning_rate=10.0).step()
    assert w.data != 2.0
    assert (str(y.why()), str(w.why(of=y))) == before


def test_a_gradient_is_told_from_what_grad_holds_now():
    x = Value(3.0, label="x")
    y, z = x * x, x * 2.0
    y.backward()
    z.backward()
    receipt = x.why(of=y)
    assert receipt.value == 6.0
    assert "x.grad now holds 8.0" in receipt.notes[0]


def test_asking_writes_nothing():
    x = Value(3.0)
    y = x * x
    x.why(of=y)
    assert (x.grad, y.grad) == (0.0, 0.0)


def test_a_number_that_was_not_used():
    with pytest.raises(WhenceError, match="loss was not made from w"):
        Value(1, label="w").why(of=Value(2, label="loss"))


def test_leaf_and_itself():
    x = Value(2.0, label="x")
    assert "a leaf" in str(x.why())
    y = x * 1.0
    assert y.why(of=y).value == 1.0


numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), numbers)
def test_sums_add_up_to_the_last_bit(pairs, start):
    ws, xs = [Value(w) for w, _ in pairs], [Value(x) for _, x in pairs]
    chain = sum((w * x for w, x in zip(ws, xs, strict=True)), Value(start))
    mixed = Value(start)
    for w, x in zip(ws, xs, strict=True):
        mixed = mixed - w * x + w
    for v in (chain, mixed, dot(ws, xs, start), total([*ws, *xs])):
        receipt = v.why()
        assert receipt.residual == 0.0
        if len(receipt.terms) > 1:
            assert added(receipt) == v.data


def test_every_gradient_of_a_network_adds_up_to_the_last_bit():
    random.seed(0)
    model = MLP(3, [8, 8, 1])
    rows = [[random.gauss(0, 1) for _ in range(3)] for _ in range(10)]
    loss = sum((model(row) - 1.0) ** 2 for row in rows)
    loss.backward()
    for p in model.parameters():
        receipt = p.why(of=loss)
        assert len(receipt.terms) == 10
        assert added(receipt) == receipt.value == p.grad
        for use in uses(p, loss):
            assert use.by in (s for s in [use.by] if p in s.inputs)


def test_long_sums_say_how_many_terms_they_have():
    v = Value(1.0)
    for _ in range(20_000):
        v = v + 1.0
    text = str(v.why())
    assert text.startswith("v = 20001\n  = Σ of 20001 terms")
    assert "19,991 other terms" in text


def test_as_json():
    a, b = Value(1.0, label="a"), Value(-1.0, label="b")
    record = json.loads(json.dumps((a + b).why(depth=2).to_dict(), allow_nan=False))
    assert record["schema"] == 2
    assert record["cancellation"] == "inf"
    assert [t["value"] for t in record["terms"]] == [1.0, -1.0]


def test_the_drawing():
    a, b = Value(2, label="<a>"), Value(3, label="b")
    loss = (a * b + 1) ** 2
    loss.backward()
    picture = loss.graph()
    assert picture._repr_html_() == str(picture)
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(str(picture))
    boxes = root.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(boxes) == 7
    assert "grad 42" in str(picture)
    assert "&lt;a&gt; = 2" in str(picture)
    assert "95.35" not in str(picture)  # the slope in the plain exponent says nothing
    long = Value(1.23456, label="a name beyond all measure")
    texts = ElementTree.fromstring(str(long.graph())).findall(".//{http://www.w3.org/2000/svg}text")
    assert texts[0].text == "a name … = 1.23456"
    part = loss.graph(limit=3)
    assert part.left_out == 4
    assert "4 more numbers not drawn" in str(part)
    assert Value(1).graph().left_out == 0


def test_the_largest_terms_come_first_where_not_all_are_shown():
    numbers = [3.0, -50.0, 1.0, 20.0, -0.5]
    lines = total([Value(x, label=f"x{i}") for i, x in enumerate(numbers)]).why().lines(2)
    shown = [line for line in lines if "█" in line]
    assert [line.split()[0] for line in shown] == ["-50", "20"]


def test_a_drawing_marks_the_root_and_the_leaves():
    a, b = Value(2, label="a"), Value(3, label="b")
    loss = (a * b).tanh()
    nodes = re.findall(r'<g class="whence-node ?(\w*)"><title>(.*?)</title>', draw(loss).svg)
    kinds = {html.unescape(title): kind for kind, title in nodes}
    assert kinds == {repr(a): "leaf", repr(b): "leaf", repr(a * b): "", repr(loss): "root"}
