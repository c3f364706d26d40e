"""Rows of `Value`s with the operators of torch's tensors.

A model written over matrices (`x @ W + b`, `.relu()`, `x[ids]`) is one definition that runs on
either: on these, where every number can be asked, or on tensors, where it is fast.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from whence.errors import WhenceError
from whence.scalar.functions import dot, pick, total
from whence.scalar.value import Value, as_value


class Matrix:
    """Values in rows and columns. Shape `[rows, columns]`; a vector is one row.

    `+ - * /` go element by element; a matrix of one row, of one column or a number is repeated to
    fit, as torch broadcasts.

    Args:
        rows: lists of numbers or `Value`s, all of one length.

    Raises:
        WhenceError: if the rows are not of one length.

    Example:
        >>> x, W = Matrix([[1, 2]]), Matrix([[10], [100]])
        >>> (x @ W).numbers()
        [[210.0]]
    """

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self.rows = [[as_value(v) for v in row] for row in rows]
        if len({len(row) for row in self.rows}) > 1:
            sizes = sorted({len(row) for row in self.rows})
            raise WhenceError(f"The rows of a matrix must be of one length; these have {sizes}.")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.rows), len(self.rows[0]) if self.rows else 0

    @property
    def T(self) -> "Matrix":  # noqa: N802  # torch's name
        """Rows and columns exchanged."""
        return Matrix(list(zip(*self.rows, strict=True)))

    def __matmul__(self, other: "Matrix") -> "Matrix":
        if self.shape[1] != other.shape[0]:
            raise WhenceError(
                f"A {_by(self)} matrix cannot be multiplied with a {_by(other)} one: "
                "the columns of the first must be as many as the rows of the second."
            )
        columns = list(zip(*other.rows, strict=True))
        return Matrix([[dot(row, column) for column in columns] for row in self.rows])

    def __getitem__(self, index: Any) -> Any:
        """Return one value (`[i, j]`), a part (`[a:b, c:d]`) or the rows listed (`[ids]`).

        A `Value` among the ids picks, so that a recorded graph may pick another one next time.
        """
        i, j = index if isinstance(index, tuple) else (index, slice(None))
        if _is_one(i) and _is_one(j) and not isinstance(i, Value):
            return _one(self.rows[i], j)
        chosen = self.rows[i] if isinstance(i, slice) else [_row(self.rows, k) for k in _listed(i)]
        if isinstance(j, slice):
            return Matrix([row[j] for row in chosen])
        return Matrix([[_one(row, k) for k in _listed(j)] for row in chosen])

    def map(self, function: Callable[[Value], Value]) -> "Matrix":
        """Return the function of every element."""
        return Matrix([[function(v) for v in row] for row in self.rows])

    def relu(self) -> "Matrix":
        """Return max(x, 0) of every element."""
        return self.map(Value.relu)

    def tanh(self) -> "Matrix":
        """Return the hyperbolic tangent of every element."""
        return self.map(Value.tanh)

    def sigmoid(self) -> "Matrix":
        """Return 1 / (1 + e⁻ˣ) of every element."""
        return self.map(Value.sigmoid)

    def exp(self) -> "Matrix":
        """Return e to the power of every element."""
        return self.map(Value.exp)

    def log(self) -> "Matrix":
        """Return the natural logarithm of every element."""
        return self.map(Value.log)

    def sqrt(self) -> "Matrix":
        """Return the square root of every element."""
        return self.map(Value.sqrt)

    def abs(self) -> "Matrix":
        """Return the size of every element."""
        return self.map(abs)

    def __neg__(self) -> "Matrix":
        return self.map(lambda v: -v)

    def __add__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: a / b)

    def __pow__(self, other: Any) -> "Matrix":
        return _paired(self, other, lambda a, b: a**b)

    def sum(self, dim: int | None = None, keepdim: bool = True) -> Any:
        """Return the sum of all elements as a `Value`, or along one dimension as a matrix.

        Args:
            dim: 0 adds up the rows, 1 the columns; None takes all elements.
            keepdim: must stay True, as a matrix keeps both of its dimensions.

        Raises:
            WhenceError: where `keepdim` is False.
        """
        if dim is None:
            return total(v for row in self.rows for v in row)
        if not keepdim:
            raise WhenceError("A Matrix keeps both of its dimensions: sum with keepdim=True.")
        lines = self.rows if dim in (1, -1) else zip(*self.rows, strict=True)
        sums = [total(line) for line in lines]
        return Matrix([[v] for v in sums] if dim in (1, -1) else [sums])

    def mean(self) -> Value:
        """Return the mean of all elements."""
        return self.sum() / (self.shape[0] * self.shape[1])

    def values(self) -> list[Value]:
        """Return the elements, row after row."""
        return [v for row in self.rows for v in row]

    def numbers(self) -> list[list[float]]:
        """Return the data as plain numbers."""
        return [[v.data for v in row] for row in self.rows]

    def __repr__(self) -> str:
        return f"Matrix({self.numbers()})"


def values_of(parameters: Iterable[Any]) -> list[Value]:
    """Return the `Value`s among parameters that may be matrices of them, in order."""
    found: list[Value] = []
    for p in parameters:
        found += p.values() if isinstance(p, Matrix) else [p]
    return found


def _by(m: Matrix) -> str:
    return f"{m.shape[0]} × {m.shape[1]}"


def _listed(index: Any) -> list[Any]:
    return [index] if _is_one(index) else list(index)


def _is_one(index: Any) -> bool:
    """Tell a place from a range or a list of them; an array of NumPy's is a list."""
    return isinstance(index, Value) or not isinstance(index, slice | Iterable)


def _one(row: Sequence[Value], index: Any) -> Value:
    return pick(row, index) if isinstance(index, Value) else row[index]


def _row(rows: Sequence[Sequence[Value]], index: Any) -> Sequence[Value]:
    if not isinstance(index, Value):
        return rows[index]
    return [pick(column, index) for column in zip(*rows, strict=True)]


def _paired(m: Matrix, other: Any, formula: Callable[[Value, Any], Value]) -> Matrix:
    if not isinstance(other, Matrix):
        return m.map(lambda v: formula(v, other))
    rows, columns = (max(pair) for pair in zip(m.shape, other.shape, strict=True))
    for size, full in zip((*m.shape, *other.shape), (rows, columns) * 2, strict=True):
        if size not in (1, full):
            raise WhenceError(f"A {_by(m)} matrix does not fit a {_by(other)} one.")
    a = [row * columns if len(row) == 1 else row for row in m.rows]
    b = [row * columns if len(row) == 1 else row for row in other.rows]
    a, b = (x * rows if len(x) == 1 else x for x in (a, b))
    return Matrix(
        [[formula(p, q) for p, q in zip(s, t, strict=True)] for s, t in zip(a, b, strict=True)]
    )
