"""Everything of a process that a library could change, as PyTorch, Python and the system say."""

import gc
import locale
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from whence.scale.openmp import library

OPERATIONS = ("all", "matmul", "conv", "rnn")
PRODUCTS = [("generic", "all"), *((b, op) for b in ("mkldnn", "cuda") for op in OPERATIONS)]


def state() -> dict[str, Any]:
    """Name → value of each."""
    found: dict[str, Any] = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # the process's own, as a string
        "locale": locale.setlocale(locale.LC_ALL),
        "path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook, sys.gettrace()),
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "threads": {t.name for t in threading.enumerate()},
        "Python's generator": random.getstate(),
        "NumPy's generator": repr(np.random.get_state()),  # the global one
        "NumPy's errors": np.geterr(),
        "warnings": [str(f) for f in warnings.filters],
    }
    if hasattr(os, "getpriority"):
        found["priority"] = os.getpriority(os.PRIO_PROCESS, 0)
        found["umask"] = _umask()
    return found | torch_state()


def torch_state() -> dict[str, Any]:
    """What PyTorch lets one read of its settings, and OpenMP of its."""
    b, openmp = torch.backends, library()
    found: dict[str, Any] = {
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only warned": torch.is_deterministic_algorithms_warn_only_enabled(),
        "debug mode": torch.get_deterministic_debug_mode(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,  # pyright: ignore
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "generator": torch.get_rng_state().numpy().tobytes(),
        "first seed": torch.initial_seed(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "autocast": [
            (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in ("cpu", "cuda")
        ],
        "autocast's cache": torch.is_autocast_cache_enabled(),
        "denormals": float.fromhex("0x1p-1074") * 1.0,
        "warn always": torch.is_warn_always_enabled(),
        "products": {key: torch._C._get_fp32_precision_getter(*key) for key in PRODUCTS},
        "precision": _legacy_precision(),
        "oneDNN": (torch._C._get_mkldnn_enabled(), torch._C._get_onednn_allow_tf32()),
        "attention": (
            b.cuda.flash_sdp_enabled(),
            b.cuda.mem_efficient_sdp_enabled(),
            b.cuda.math_sdp_enabled(),
            b.cuda.cudnn_sdp_enabled(),
        ),
        "cuDNN": (b.cudnn.enabled, b.cudnn.benchmark, b.cudnn.deterministic),
        "reduced": b.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "print": str(torch.tensor([1 / 3, 1e9])),
    }
    if torch.cuda.is_initialized():
        found["generators of the GPUs"] = [s.tolist() for s in torch.cuda.get_rng_state_all()]
    if openmp is not None:
        found["OpenMP"] = openmp.omp_get_max_threads(), openmp.omp_get_dynamic()
    return found


def _legacy_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "told by the newer settings"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def odd() -> Iterator[None]:
    """A caller whose settings are all others than ours, with everything put back behind."""
    before, products = torch_state(), torch.get_float32_matmul_precision()
    openmp = library()
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # pyright: ignore
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cuda.enable_flash_sdp(False)
    torch.default_generator.manual_seed(12345)
    if openmp is not None:
        openmp.omp_set_dynamic(1)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_num_threads(before["threads of torch"][0])
        torch.use_deterministic_algorithms(before["deterministic"], warn_only=before["only warned"])
        torch.utils.deterministic.fill_uninitialized_memory = before["filled"]  # pyright: ignore
        torch.set_default_dtype(before["default dtype"])
        torch.set_float32_matmul_precision(products)
        torch.backends.cuda.enable_flash_sdp(before["attention"][0])
        if openmp is not None:
            openmp.omp_set_dynamic(before["OpenMP"][1])
