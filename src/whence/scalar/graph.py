"""The graph behind a `Value`, walked without recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.scalar.value import Value


def topological(root: Value) -> list[Value]:
    """Return every computed number that `root` was made from, inputs first, leaves left out.

    No recursion: a chain may be as long as memory allows.

    Args:
        root: the number to start from, such as a loss.

    Example:
        >>> from whence.scalar import Value
        >>> a = Value(2)
        >>> [v.data for v in topological((a + 1) * a)]
        [3.0, 6.0]
    """
    order: list[Value] = []
    begun, ended = object(), object()  # marks: it waits for its inputs, it is in `order`
    stack: list[Any] = [root] if root.op is not None else []
    push, pop, done = stack.append, stack.pop, order.append
    while stack:
        v = pop()
        if v._mark is begun:
            v._mark = ended
            done(v)
            continue
        while v._mark is not ended:
            a, b = v._a, v._b
            if a is None:
                v._mark = begun
                push(v)
                stack += [source for source in reversed(b) if source.op is not None]
                break
            if b is not None and (b.op is None or b._mark is ended):
                b = None
            if a.op is None or a._mark is ended:
                a, b = b, None
            if a is None:  # nothing has to come before it
                v._mark = ended
                done(v)
                break
            v._mark = begun
            push(v)
            if b is not None:
                push(b)
            v = a
    return order
