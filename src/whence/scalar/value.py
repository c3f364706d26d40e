"""`Value`: one number that remembers where it came from.

    a, b = Value(2, label="a"), Value(3, label="b")
    c = a * b
    d = c + 1
    loss = d ** 2
    loss.backward()        # a.grad = 42, b.grad = 28

Every operation makes a new `Value` that points at its inputs and keeps what they were. A node never
points at what was made from it, so that a graph is freed the moment its last name is dropped and
Python's cyclic garbage collector finds nothing to do.
"""

import math
import sys
import warnings
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

from whence.receipt import Receipt
from whence.scalar import ops
from whence.scalar.graph import topological
from whence.scalar.ops import ADD, MUL, Op

if TYPE_CHECKING:
    from whence.scalar.draw import Drawing

_new = object.__new__
_NONE: Any = None  # the empty input of an operation on one number


class NotFiniteWarning(RuntimeWarning):
    """An operation on ordinary numbers gave an infinity or nan.

    Example:
        >>> import warnings
        >>> from whence.scalar import Value
        >>> with warnings.catch_warnings(record=True, category=NotFiniteWarning) as caught:
        ...     warnings.simplefilter("always")
        ...     infinity = Value(1e300) * 1e300
        >>> len(caught)
        1
    """


class Value:
    """One number, with the operation and the numbers that made it.

    Slopes are those of the forward pass: changing `data` afterwards changes no gradient of a graph
    that was built before. Where a function has a kink, the slope there is: relu at 0 → 0, abs at
    0 → 0, max and min of two equal numbers → ½ each (all as in torch).

    Args:
        data: the number; whatever `float()` takes.
        label: a name that receipts, drawings and warnings use.

    Attributes:
        grad: ∂(root)/∂(this), set by `root.backward()`; leaves add up over several calls.
        label: the name, or `None`.
        op: the operation's row in `whence.scalar.ops`, or `None` for a leaf.

    Raises:
        TypeError: if `data` is not a number.

    Example:
        >>> a, b = Value(2), Value(3)
        >>> loss = (a * b + 1) ** 2
        >>> loss.backward()
        >>> loss.data, a.grad, b.grad
        (49.0, 42.0, 28.0)
    """

    __slots__ = ("_a", "_b", "_data", "_mark", "_x", "_y", "grad", "label", "op")

    def __init__(self, data: Any, *, label: str | None = None) -> None:
        self._data: float = float(data)
        self.grad: float = 0.0
        self.label = label
        self.op: Op | None = None
        self._a: Value = _NONE  # first input; None where there are many
        self._b: Any = None  # second input, None of one, a tuple of many
        self._x: Any = None  # the inputs' data in the forward pass
        self._y: Any = None
        self._mark: Any = None  # the latest traversal that came by

    @property
    def data(self) -> float:
        """The number itself; setting it leaves the graphs that used it as they were."""
        return self._data

    @data.setter
    def data(self, number: Any) -> None:
        self._data = float(number)

    @property
    def inputs(self) -> tuple["Value", ...]:
        """The values this one was made from, in the order of its formula."""
        if self.op is None:
            return ()
        if self._a is None:
            return self._b
        return (self._a,) if self._b is None else (self._a, self._b)

    @property
    def operands(self) -> tuple[float, ...]:
        """What the inputs were in the forward pass."""
        if self.op is None:
            return ()
        if self._a is None:
            return self._x
        return (self._x,) if self._b is None else (self._x, self._y)

    @property
    def slopes(self) -> tuple[float, ...]:
        """∂(this)/∂(input) for each input, as it was in the forward pass."""
        return () if self.op is None else self.op.slopes(self._x, self._y, self._data)

    # --- + and * are written out: they are most of any graph, and a call more would show ---------

    def __add__(self, other: Any) -> "Value":
        x = self._data
        try:
            y = other._data
        except AttributeError:
            other = _constant(other)
            if other is NotImplemented:
                return other
            y = other._data
        z = x + y
        out = _new(type(self))
        out._data = z
        out.grad = 0.0
        out.op = ADD
        out.label = None
        out._a = self
        out._b = other
        out._x = x
        out._y = y
        out._mark = None
        if z - z:  # nan for an infinity or nan, 0 for any ordinary number
            _warn(out)
        return out

    def __mul__(self, other: Any) -> "Value":
        x = self._data
        try:
            y = other._data
        except AttributeError:
            other = _constant(other)
            if other is NotImplemented:
                return other
            y = other._data
        z = x * y
        out = _new(type(self))
        out._data = z
        out.grad = 0.0
        out.op = MUL
        out.label = None
        out._a = self
        out._b = other
        out._x = x
        out._y = y
        out._mark = None
        if z - z:
            _warn(out)
        return out

    def __radd__(self, other: Any) -> "Value":
        leaf = _constant(other)
        return leaf if leaf is NotImplemented else leaf + self

    def __rmul__(self, other: Any) -> "Value":
        leaf = _constant(other)
        return leaf if leaf is NotImplemented else leaf * self

    def __sub__(self, other: Any) -> "Value":
        return _binary(ops.SUB, self, other, lambda x, y: x - y)

    def __rsub__(self, other: Any) -> "Value":
        leaf = _constant(other)
        return leaf if leaf is NotImplemented else leaf - self

    def __truediv__(self, other: Any) -> "Value":
        return _binary(ops.DIV, self, other, ops.divide)

    def __rtruediv__(self, other: Any) -> "Value":
        leaf = _constant(other)
        return leaf if leaf is NotImplemented else leaf / self

    def __pow__(self, other: Any) -> "Value":
        return _binary(ops.POW, self, other, ops.power)

    def __rpow__(self, other: Any) -> "Value":
        leaf = _constant(other)
        return leaf if leaf is NotImplemented else leaf**self

    def __neg__(self) -> "Value":
        return _unary(ops.NEG, self, -self._data)

    def __pos__(self) -> "Value":
        return self

    def __abs__(self) -> "Value":
        return _unary(ops.ABS, self, abs(self._data))

    # --- functions ------------------------------------------------------------------------------

    def exp(self) -> "Value":
        """Return e to this power."""
        return _unary(ops.EXP, self, ops.exp(self._data))

    def log(self) -> "Value":
        """Return the natural logarithm: −∞ at 0 and nan below, with a warning."""
        return _unary(ops.LOG, self, ops.log(self._data))

    def sqrt(self) -> "Value":
        """Return the square root: nan below 0, with a warning."""
        return _unary(ops.SQRT, self, ops.sqrt(self._data))

    def tanh(self) -> "Value":
        """Return the hyperbolic tangent."""
        return _unary(ops.TANH, self, math.tanh(self._data))

    def sigmoid(self) -> "Value":
        """Return 1 / (1 + e⁻ˣ)."""
        return _unary(ops.SIGMOID, self, ops.sigmoid(self._data))

    def relu(self) -> "Value":
        """Return max(x, 0); its slope at 0 is 0."""
        x = self._data
        return _unary(ops.RELU, self, 0.0 if x < 0.0 else x)

    def abs(self) -> "Value":
        """Return |x|; its slope at 0 is 0."""
        return abs(self)

    def max(self, other: Any) -> "Value":
        """Return the larger of two; of two equal ones each gets half of the gradient."""
        return _binary(ops.MAX, self, other, lambda x, y: x if x > y or x != x else y)

    def min(self, other: Any) -> "Value":
        """Return the smaller of two; of two equal ones each gets half of the gradient."""
        return _binary(ops.MIN, self, other, lambda x, y: x if x < y or x != x else y)

    def detach(self) -> "Value":
        """Return the same number as a leaf: no gradient flows through it."""
        return Value(self._data, label=self.label)

    # --- comparisons look at the numbers; a Value is hashed by what it is, not by its number ------

    def __lt__(self, other: Any) -> bool:
        return self._data < _number(other)

    def __le__(self, other: Any) -> bool:
        return self._data <= _number(other)

    def __gt__(self, other: Any) -> bool:
        return self._data > _number(other)

    def __ge__(self, other: Any) -> bool:
        return self._data >= _number(other)

    def __eq__(self, other: object) -> bool:
        try:
            return self._data == _number(other)
        except TypeError:
            return NotImplemented

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return self._data

    def __int__(self) -> int:
        return int(self._data)

    # --- gradients ------------------------------------------------------------------------------

    def backward(self) -> None:
        """Set `grad` of every number this one was made from to ∂(this)/∂(that number).

        Leaves add to the gradient they hold, as in torch, so that several losses can be summed;
        numbers in between hold that of the latest call.

        Example:
            >>> x = Value(3)
            >>> (x * x).backward()
            >>> x.grad
            6.0
        """
        order = topological(self)
        for v in order:
            v.grad = 0.0
        self.grad = 1.0 if order else self.grad + 1.0
        for v in reversed(order):
            g, op, a = v.grad, v.op, v._a
            if op is ADD:
                a.grad += g
                v._b.grad += g
                continue
            if op is MUL:
                a.grad += g * v._y
                v._b.grad += g * v._x
                continue
            slopes = op.slopes(v._x, v._y, v._data)  # pyright: ignore - no leaf is in order
            if a is None:
                for source, slope in zip(reversed(v._b), reversed(slopes), strict=True):
                    source.grad += g * slope
            elif v._b is None:
                a.grad += g * slopes[0]
            else:
                v._b.grad += g * slopes[1]
                a.grad += g * slopes[0]

    def zero_grad(self) -> None:
        """Set the gradient of this number and of all it was made from back to 0."""
        self.grad = 0.0
        for v in topological(self):
            v.grad = 0.0
            for source in v.inputs:
                source.grad = 0.0

    def why(self, of: "Value | None" = None, *, depth: int = 1) -> Receipt:
        """Return the receipt of this number, or of ∂`of`/∂(this).

        The terms of a value are the summands of its formula. The terms of a gradient are the
        places where the number was used: arriving gradient × local slope each. Added up in the
        order in which they are listed they give the number to the last bit.

        Args:
            of: the number whose gradient is asked for, for example the loss.
            depth: how many levels to open; 2 opens every term once more.

        Raises:
            WhenceError: if `of` was not made from this number.

        Example:
            >>> a, b = Value(2, label="a"), Value(3, label="b")
            >>> print((a * b + 1).why())
            v = 7
              = a · b + 1
              = 2 · 3 + 1
                6  ████████████   86 %  a · b = 2 · 3
                1  ██             14 %  1
              exact: the terms add up to every digit
        """
        from whence.scalar import explain

        return explain.value(self, depth) if of is None else explain.gradient(self, of, depth)

    def graph(self, limit: int = 200) -> "Drawing":
        """Return a drawing of the graph: SVG text by `str()`, a picture in notebooks.

        Args:
            limit: the most numbers to draw, nearest to this one first.
        """
        from whence.scalar.draw import draw

        return draw(self, limit)

    # --- what code written for micrograd looks at -------------------------------------------------

    @property
    def _prev(self) -> set["Value"]:
        return set(self.inputs)

    @property
    def _op(self) -> str:
        return self.op.name if self.op else ""

    def __repr__(self) -> str:
        label = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self._data}, grad={self.grad}{label})"


def many(op: Op, inputs: Iterable[Value], operands: tuple[float, ...], z: float) -> Value:
    """Return the value that `op` made from any number of inputs.

    Args:
        op: what was done.
        inputs: the numbers that it read.
        operands: their values as it read them.
        z: the result.

    Example:
        >>> from whence.scalar import ops
        >>> inputs = (Value(0), Value(2), Value(3))
        >>> many(ops.DOT, inputs, (0.0, 2.0, 3.0), 6.0).data
        6.0
    """
    inputs = tuple(inputs)
    # What is made from a watched number (see `watch`) is watched too.
    kinds = set(map(type, inputs)) - {Value}
    out = _new(kinds.pop() if kinds else Value)
    out._data, out.grad, out.op, out.label = z, 0.0, op, None
    out._a, out._b, out._x, out._y = _NONE, inputs, operands, None
    out._mark = None
    if z - z:
        _warn(out)
    return out


def as_value(number: Any) -> Value:
    """Return `number` as it is if it is a `Value`, else as a leaf.

    Raises:
        TypeError: if it is neither a `Value` nor a number.

    Example:
        >>> as_value(2).data
        2.0
    """
    if isinstance(number, Value):
        return number
    leaf = _constant(number)
    if leaf is NotImplemented:
        raise TypeError(f"a number or a Value is needed here, not {type(number).__name__}")
    return leaf


def _unary(op: Op, a: Value, z: float) -> Value:
    out = _new(type(a))
    out._data, out.grad, out.op, out.label = z, 0.0, op, None
    out._a, out._b, out._x, out._y = a, None, a._data, None
    out._mark = None
    if z - z:
        _warn(out)
    return out


def _binary(op: Op, a: Value, other: Any, formula: Any) -> Value:
    b = other if isinstance(other, Value) else _constant(other)
    if b is NotImplemented:
        return b
    x, y = a._data, b._data
    z = formula(x, y)
    out = _new(type(b) if type(a) is Value else type(a))
    out._data, out.grad, out.op, out.label = z, 0.0, op, None
    out._a, out._b, out._x, out._y = a, b, x, y
    out._mark = None
    if z - z:
        _warn(out)
    return out


def _constant(number: Any) -> Any:
    if isinstance(number, int | float | Real):
        return Value(number)
    return NotImplemented


def _number(other: Any) -> float:
    if isinstance(other, Value):
        return other._data
    if isinstance(other, int | float | Real):
        return float(other)
    raise TypeError(f"a Value cannot be compared with {type(other).__name__}")


def _warn(v: Value) -> None:
    # Only where it begins: what is made from an infinity would only repeat the news.
    if any(x - x != 0.0 for x in v.operands):
        return
    from whence.scalar import explain

    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("whence.scalar"):
        level, frame = level + 1, frame.f_back
    warnings.warn(explain.not_finite(v), NotFiniteWarning, stacklevel=level)
