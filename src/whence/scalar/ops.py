"""The table of operations: one row each, with its formula and its local slopes.

Python raises where arithmetic overflows or divides by zero; the functions here give what IEEE 754
says instead (an infinity or nan), so that a training run can be looked at after it went wrong.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INF, NAN = math.inf, math.nan


def divide(x: float, y: float) -> float:
    """Return x / y, where x / 0 is ±∞ and 0 / 0 is nan."""
    try:
        return x / y
    except ZeroDivisionError:
        return NAN if x == 0.0 or x != x else math.copysign(INF, x) * math.copysign(1.0, y)


def power(x: float, y: float) -> float:
    """Return xʸ, where 0 to a negative power is ∞ and a root of a negative number nan."""
    try:
        return math.pow(x, y)
    except (OverflowError, ValueError):
        if x < 0.0 and y != math.floor(y):
            return NAN
        odd = abs(math.fmod(y, 2.0)) == 1.0  # an odd whole number: the sign of x stays
        return -INF if odd and math.copysign(1.0, x) < 0.0 else INF


def exp(x: float) -> float:
    """Return eˣ, ∞ above 709.78."""
    try:
        return math.exp(x)
    except OverflowError:
        return INF


def log(x: float) -> float:
    """Return the natural logarithm: −∞ at 0, nan below."""
    return math.log(x) if x > 0.0 else (-INF if x == 0.0 else NAN)


def sqrt(x: float) -> float:
    """Return the square root: nan below 0."""
    return math.sqrt(x) if x >= 0.0 else NAN


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e⁻ˣ), written so that neither end overflows."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One row of the table.

    Attributes:
        name: what `Value.op` prints.
        symbols: the formula, with `{0}` and `{1}` for the inputs.
        slopes: ∂output/∂input for each input, from the inputs x and y and the output z as they
            were in the forward pass. Of an operation on many inputs x is the tuple of them all.
    """

    name: str
    symbols: str
    slopes: Callable[[Any, Any, float], tuple[float, ...]]

    def __str__(self) -> str:
        return self.name


def _power_slopes(x: float, y: float, z: float) -> tuple[float, float]:
    # 0 to a power ≥ 0 does not change with the power: z·ln x would be 0 · −∞ there. As in torch.
    by_x = 0.0 if y == 0.0 else y * power(x, y - 1.0)
    by_y = 0.0 if x == 0.0 and y >= 0.0 else z * log(x)
    return by_x, by_y


def _tie(first: bool, second: bool) -> tuple[float, float]:
    # Of two equal numbers each gets half of the gradient, as in torch.
    return (1.0, 0.0) if first else (0.0, 1.0) if second else (0.5, 0.5)


def _dot_slopes(x: tuple[float, ...], _y: Any, _z: float) -> tuple[float, ...]:
    slopes = [1.0]
    for i in range(1, len(x), 2):
        slopes += (x[i + 1], x[i])
    return tuple(slopes)


def _pick_slopes(x: tuple[float, ...], _y: Any, _z: float) -> tuple[float, ...]:
    chosen = int(x[0]) + 1
    return tuple(1.0 if i == chosen else 0.0 for i in range(len(x)))


ADD = Op("+", "{0} + {1}", lambda x, y, z: (1.0, 1.0))
SUB = Op("-", "{0} − {1}", lambda x, y, z: (1.0, -1.0))
MUL = Op("*", "{0} · {1}", lambda x, y, z: (y, x))
DIV = Op("/", "{0} / {1}", lambda x, y, z: (divide(1.0, y), -divide(z, y)))
POW = Op("**", "{0} ^ {1}", _power_slopes)
MAX = Op("max", "max({0}, {1})", lambda x, y, z: _tie(x > y, y > x))
MIN = Op("min", "min({0}, {1})", lambda x, y, z: _tie(x < y, y < x))
NEG = Op("neg", "−{0}", lambda x, y, z: (-1.0,))
EXP = Op("exp", "exp({0})", lambda x, y, z: (z,))
LOG = Op("log", "ln({0})", lambda x, y, z: (divide(1.0, x),))
SQRT = Op("sqrt", "√{0}", lambda x, y, z: (divide(0.5, z),))
TANH = Op("tanh", "tanh({0})", lambda x, y, z: (1.0 - z * z,))
SIGMOID = Op("sigmoid", "σ({0})", lambda x, y, z: (z * (1.0 - z),))
RELU = Op("relu", "relu({0})", lambda x, y, z: (1.0 if x > 0.0 else 0.0,))
ABS = Op("abs", "|{0}|", lambda x, y, z: (math.copysign(1.0, x) if x else 0.0,))
DETACH = Op("detach", "{0} held fixed", lambda x, y, z: (0.0,))
SUM = Op("sum", "Σ of {n}", lambda x, y, z: (1.0,) * len(x))
DOT = Op("dot", "Σ of {n} products", _dot_slopes)
PICK = Op("pick", "one of {n}", _pick_slopes)
REPLAY = Op("replay", "a recorded graph of {n} numbers", lambda x, y, z: y)
