"""Memory read as numbers of another kind: complex ones as pairs of real ones, and back."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.rules.opening import Factor, Opened, Part


def reinterpreted(cells: Ref, at: Index) -> Opened | None:
    """Open elements of a view that reads complex numbers as real ones, or real as complex.

    Returns:
        Re z or Im z, or x + i·y; `None` where what wrote the memory wrote numbers of this kind.
    """
    written = _written(cells)
    if written is None:
        return None
    places = cells.places(at)
    if written.dtype.is_complex:
        half = places % 2
        source = Factor(written, written.locate(places // 2).reshape(-1, 1), "z")
        value = np.where(half.reshape(-1, 1), np.imag(source.values), np.real(source.values))
        name = "Im z" if half.all() else "Re z" if not half.any() else "Re z or Im z"
        return Opened(name, [Part(name, value=value, shared=(source,))], exact=True)
    parts = [
        Part(symbol, (Factor(written, written.locate(2 * places + k).reshape(-1, 1), name),), unit)
        for k, (symbol, name, unit) in enumerate(
            (("x", "x", np.array(1.0)), ("i·y", "y", np.array(-1j if cells.conjugate else 1j)))
        )
    ]
    return Opened("x + i·y", parts, exact=True)


def _written(cells: Ref) -> Ref | None:
    """The tensor of the other kind that was written to this memory last."""
    for version in reversed(cells.version.memory.versions[: cells.version.number + 1]):
        for region, _ in version.regions:
            return region if region.dtype.is_complex != cells.dtype.is_complex else None
    return None
