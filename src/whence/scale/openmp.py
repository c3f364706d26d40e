"""The OpenMP library that PyTorch's threads come from: how many it really gives.

Some kernels, such as oneDNN's products of bfloat16 matrices, share out their work among the threads
that PyTorch counts. Where OpenMP gives fewer, the share of the missing ones is never written, and
what is read there is whatever was in memory: often NaN.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch


@cache
def library() -> ctypes.CDLL | None:
    """Return the OpenMP library that PyTorch has loaded, or None where it isn't a file of its own.

    Example:
        >>> library() is None or library().omp_get_max_threads() >= 1
        True
    """
    folder = Path(torch.__file__).parent
    for pattern in (
        "lib/libgomp*",
        "lib/lib*omp*.dylib",
        "lib/libiomp5*",
        "../torch.libs/libgomp*",
    ):
        for path in sorted(folder.glob(pattern)):
            try:
                found = ctypes.CDLL(str(path))
                if found.omp_get_thread_limit and found.omp_set_dynamic:
                    return found
            except (OSError, AttributeError):
                continue
    return None


def thread_limit() -> int | None:
    """Return the most threads that OpenMP gives (`OMP_THREAD_LIMIT`); None where it doesn't say.

    Example:
        >>> thread_limit() is None or thread_limit() >= 1
        True
    """
    found = library()
    return found.omp_get_thread_limit() if found else None


@contextmanager
def as_many_as_asked() -> Iterator[None]:
    """Keep OpenMP from giving fewer threads on a busy machine, as `OMP_DYNAMIC=true` lets it.

    Example:
        >>> with as_many_as_asked():
        ...     pass
    """
    found = library()
    dynamic = found.omp_get_dynamic() if found else 0
    if not found or not dynamic:
        yield
        return
    found.omp_set_dynamic(0)
    try:
        yield
    finally:
        found.omp_set_dynamic(dynamic)
