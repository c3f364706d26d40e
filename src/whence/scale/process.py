"""What only a program of our own may do to its process, since it can't be undone.

A library leaves its caller's process as it is. The `whence` command and the trainings that the
studio starts are processes of our own, and are set up for training before PyTorch is loaded.
"""

import ctypes
import os


def tune_process() -> None:
    """Set up this process for training: a short spin of waiting threads, and freed memory kept.

    The bits of a run don't depend on it. A script of your own that only trains may call it as well,
    before it imports torch.

    GNU's OpenMP, which PyTorch loads, lets threads that wait for each other spin for 8 ms. Beside
    another busy program that makes a step a hundred times as long; so short a spin costs nothing
    otherwise. What the user has set stays. Measured in docs/decisions/044.

    Example:
        >>> from whence.scale.process import tune_process  # before torch
        >>> tune_process()  # doctest: +SKIP
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, where it can be told to.

    glibc hands the top of the heap back to the system at every chance. A training step frees and
    needs the same few megabytes again, and thousands of page faults each time took a tenth of it.
    Up to a gigabyte is now kept; blocks above 32 MB go back as before. glibc doesn't say what its
    limits were before, so this can't be undone.

    Example:
        >>> keep_freed_memory()  # doctest: +SKIP
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h's names for them
    mallopt(mmap_threshold, 32 * 2**20)
    mallopt(trim_threshold, 2**30)
