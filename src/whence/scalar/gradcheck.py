"""Gradients checked by finite differences: change a number a little, and watch the loss.

It works for any model whose parameters spell `data` and `grad` as `Value`s and tensors do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from whence.errors import WhenceError


class Check(NamedTuple):
    """One gradient, twice.

    Attributes:
        address: which parameter.
        backward: what backpropagation says.
        difference: (loss(p + h) − loss(p − h)) / 2h.
        error: |backward − difference| / the larger of the two, or of `noise` where both are less.
        noise: how large a difference rounding of the loss alone can make.

    Example:
        >>> Check("w", backward=6.0, difference=6.0000001, error=1.7e-8, noise=1e-11).agrees
        True
    """

    address: str
    backward: float
    difference: float
    error: float
    noise: float

    @property
    def agrees(self) -> bool:
        """Whether the two are equal up to rounding and the curvature of the loss."""
        apart = abs(self.backward - self.difference)
        return not self.undecided and (self.error < 1e-4 or apart <= self.noise)

    @property
    def undecided(self) -> bool:
        """Whether rounding of the loss hides a gradient of this size at this step."""
        apart = abs(self.backward - self.difference)
        size = max(abs(self.backward), abs(self.difference))
        return apart > 1e-4 * size and self.noise > 0.1 * abs(self.backward) > 0


def check_gradient(
    loss: Callable[[], Any],
    parameter: Any,
    index: tuple[int, ...] | None = None,
    *,
    step: float = 1e-5,
    address: str = "",
) -> Check:
    """Compare ∂loss/∂parameter by backpropagation with a central difference.

    Args:
        loss: computes the loss again from the parameters as they are; has `.backward()`.
        parameter: a `Value`, or a tensor.
        index: which element of a tensor.
        step: h, in units of the parameter; multiplied with its size where that is above 1.
        address: the name that the check carries.

    Raises:
        WhenceError: where the step is too small to change the number at all.

    Example:
        >>> from whence.scalar import Value
        >>> w = Value(3.0)
        >>> check = check_gradient(lambda: w * w, w)
        >>> check.backward, round(check.difference, 6)
        (6.0, 6.0)
    """

    def read() -> float:
        return float(parameter.data if index is None else parameter.data[index])

    def write(x: float) -> None:
        if index is None:
            parameter.data = x
        else:
            parameter.data[index] = x

    def measure(x: float) -> float:
        write(x)
        return float(loss().detach())

    was = read()
    root = loss()
    # The gradient that the parameter holds is put back: a check must not disturb training.
    held = parameter.grad
    parameter.grad = 0.0 if index is None else None
    root.backward()
    grad: Any = parameter.grad
    backward = 0.0 if grad is None else float(grad if index is None else grad[index])
    parameter.grad = held
    h = step * max(1.0, abs(was))
    if was + h == was or was - h == was:
        raise WhenceError(
            f"a step of {step:g} is too small to change {was!r}: give a larger one, such as 1e-5."
        )
    try:
        high, low = measure(was + h), measure(was - h)
    finally:
        write(was)
    difference = (high - low) / (2.0 * h)
    noise = 16.0 * 2.0**-53 * max(abs(high), abs(low)) / h
    size = max(abs(backward), abs(difference), noise)
    return Check(
        address, backward, difference, abs(backward - difference) / size if size else 0.0, noise
    )
