"""Loops that numba compiles: machine code that is kept on disk and needs no GIL.

Importing this file imports numba (half a second), so callers import it where they compute.
"""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile `function`, and keep the machine code on disk where a folder for it is writable.

    Args:
        function: plain loops over numbers and arrays.
        **options: more of `numba.njit`'s.

    Example:
        >>> import numpy as np
        >>> compiled(lambda x: x.sum())(np.ones(3))
        3.0
    """
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no writable folder: every process compiles for itself
        return numba.njit(nogil=True, **options)(function)
