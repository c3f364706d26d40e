"""What observes gradients on their way between the loop and the watched modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from whence.watch.step.events import Call, Link


class Ear:
    """Observes a gradient that arrives at an output.

    Args:
        arrive: is called with the call, the number of the output, and the gradient.
        call: the call.
        output: the number of its output.
    """

    __slots__ = ("arrive", "call", "output")

    def __init__(self, arrive: Callable[[Call, int, Tensor], None], call: Call, output: int):
        self.arrive, self.call, self.output = arrive, call, output

    def __call__(self, gradient: Tensor) -> None:
        """Hear of it."""
        self.arrive(self.call, self.output, gradient)


class Passage:
    """Observes the part of it that comes by way of another call.

    Args:
        pass_on: is called with the link to that call and the gradient.
        link: the link.
    """

    __slots__ = ("link", "pass_on")

    def __init__(self, pass_on: Callable[[Link, Tensor], None], link: Link):
        self.pass_on, self.link = pass_on, link

    def __call__(self, gradient: Tensor) -> None:
        """Hear of it."""
        self.pass_on(self.link, gradient)
