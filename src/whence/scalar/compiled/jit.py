"""The one way in: a loss of `Value`s, recorded once and replayed from then on."""

from typing import Any

from whence.scalar.compiled.replay import Compiled, Loss
from whence.scalar.compiled.samples import CompiledEach


def jit(loss: Loss, *, each: bool = False) -> Any:
    """Return a loss that is recorded once for each shape of batch and replayed from then on.

    The batch and the parameters may both change between calls. Where the loss branches on a number,
    uses one as an index or takes its data out, the recording holds only as long as that comes out
    the same; otherwise the graph is recorded again, by itself. A loss that uses numbers which it
    was
    not given (random ones, a counter) cannot be replayed: that is looked for on the 2nd, 16th and
    128th call and so on, and said.

    Args:
        loss: `(model, batch) -> Value`. `model.parameters()` are read again at every call.
        each: the loss is of one sample, `(model, sample) -> Value`, and the batch is a sequence of
            samples, or arrays with a sample in each row. The result is the mean over samples, and
            those that share a graph are computed side by side: the fastest there is. Every sample's
            loss has the bits of the plain graph; in the gradients samples are added up in another
            order.

    Example:
        >>> from whence.scalar import Value
        >>> w = Value(3.0)
        >>> fast = jit(lambda model, x: (model * x - 1.0) ** 2)
        >>> [fast(w, x).data for x in (1.0, 2.0, 3.0)], fast.recordings
        ([4.0, 25.0, 64.0], 1)
        >>> jit(lambda model, x: (model * x - 1.0) ** 2, each=True)(w, [1.0, 2.0, 3.0]).data
        31.0
    """
    return CompiledEach(loss) if each else Compiled(loss)
