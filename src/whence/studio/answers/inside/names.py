"""Which tensors of a traced step a view shows: those of the forward pass, in order."""

from whence.why import Trace
from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Ref


def in_order(t: Trace) -> list[str]:
    """The names of what the forward pass made, in order."""
    found = [
        (t[name].ref.ordinal, name)
        for name in t.names()
        if name not in t.parameters and _is_forward(t, name)
    ]
    return [name for _, name in sorted(found, key=lambda pair: pair[0])]


def under(name: str, module: str) -> bool:
    """Whether a name lies inside a module."""
    return name.startswith(module.partition("#")[0] + ".")


def _is_forward(t: Trace, name: str) -> bool:
    ref = t[name].ref
    if isinstance(ref, Recomputed):
        return not ref.carries and not name.endswith(".grad")
    if (
        not isinstance(ref, Ref)
        or ref.carries
        or ref.ordinal < 0
        or not ref.dtype.is_floating_point
    ):
        return False
    writer = ref.version.writer
    return writer is not None and writer.phase == "forward"
