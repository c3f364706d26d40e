"""What a run is computed on: probed at the start, so that the default always works."""

import ctypes
import os
import platform
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from whence.errors import WhenceError
from whence.fields import check_fields

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Hardware:
    """What a run is computed on and how.

    Attributes:
        device: `auto` takes a CUDA or Apple GPU where there is one, else the CPU.
        precision: `bf16` computes matrix products in bfloat16 and keeps weights in float32;
            `auto` takes it where the device has instructions for it.
        compile: let `torch.compile` fuse the model; needs a C++ compiler on a CPU.
        threads: how many CPU threads; none: all cores. Another number gives other bits.
        deterministic: only kernels that give the same bits every time.

    Raises:
        WhenceError: where a number lies outside its range.

    Example:
        >>> Hardware(device="cpu", precision="fp32").resolved().precision
        'fp32'
    """

    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    threads: int | None = None
    deterministic: bool = True

    def __post_init__(self):
        check_fields(self, "hardware.")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise WhenceError(f"hardware.threads is {self.threads}: give 1 to 1024.")

    def resolved(self) -> "Hardware":
        """Replace every `auto` by what this machine has.

        Raises:
            WhenceError: where the device or the compiler asked for isn't there.
        """
        device = find_device(self.device)
        threads = self.threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if _bfloat16_is_faster(device) else "fp32"
        if self.compile and device == "cpu" and not has_compiler():
            raise WhenceError(
                "hardware.compile needs a C++ compiler and none was found: install one (such as "
                "g++ or clang++) or leave compile off."
            )
        return replace(self, device=device, precision=precision, threads=threads)

    def apply(self) -> None:
        """Set PyTorch's threads and deterministic kernels for this process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.device == "cuda":
            # cuBLAS reads this when it starts; without it deterministic kernels are refused.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        # Filling fresh memory before it is written guards against nothing here, and costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
        keep_freed_memory()

    def context(self) -> AbstractContextManager:
        """Return the context in which a forward pass has this precision."""
        if self.precision == "bf16":
            return torch.autocast(self.device, torch.bfloat16)
        return nullcontext()

    @property
    def matmul_dtype(self) -> torch.dtype:
        """The dtype of matrix products outside autocast, such as Muon's."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def summary(self) -> str:
        """Say in one line what was found and chosen."""
        parts = [device_name(self.device)]
        if self.device == "cpu":
            parts.append(f"{self.threads} thread{'s' if self.threads != 1 else ''}")
        parts += [self.precision, "compiled" if self.compile else "not compiled"]
        if not self.deterministic:
            parts.append("not deterministic")
        return " · ".join(parts)


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, where it can be told to.

    glibc hands the top of the heap back to the system at every chance. A training step frees and
    needs the same few megabytes again, and thousands of page faults each time took a tenth of it.
    Up to a gigabyte is now kept; blocks above 32 MB go back as before.

    Example:
        >>> keep_freed_memory()
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h's names for them
    mallopt(mmap_threshold, 32 * 2**20)
    mallopt(trim_threshold, 2**30)


def device_name(device: str) -> str:
    """Return what a person calls the device.

    Example:
        >>> device_name("cpu").startswith("CPU")
        True
    """
    if device == "cuda":
        return f"CUDA: {torch.cuda.get_device_name()}"
    return "Apple GPU" if device == "mps" else f"CPU ({platform.machine() or 'unknown'})"


def manifest(hardware: Hardware) -> dict[str, str | int]:
    """Return what the bits of a run depend on besides its recipe.

    Example:
        >>> sorted(manifest(Hardware().resolved()))[:3]
        ['code', 'cpu', 'device']
    """
    import numpy

    from whence import __version__

    return {
        "whence": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device_name(hardware.device),
        "threads": torch.get_num_threads(),
    }


@cache
def code_digest() -> str:
    """Return a short digest of this package's own code: between versions it can change bits, too.

    Example:
        >>> len(code_digest())
        12
    """
    root = Path(__file__).parents[1]
    digest = sha256()
    for folder in ("data", "models", "runs", "scale", "train"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def find_device(wanted: Device) -> str:
    """Return the device that is meant, the fastest one there is for `auto`.

    Raises:
        WhenceError: where this machine hasn't the one asked for.

    Example:
        >>> find_device("cpu")
        'cpu'
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise WhenceError(
            f"hardware.device is {wanted}, but this machine has {found}: choose that."
        )
    return wanted


def _bfloat16_is_faster(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return False
    return _cpu_multiplies_bfloat16()


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it; timing it instead goes wrong on a busy machine."""
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return True
    flags = Path("/proc/cpuinfo")  # 64-bit Arm on Linux tells it there
    return platform.machine() == "aarch64" and flags.exists() and "bf16" in flags.read_text()


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which `torch.compile` needs on a CPU.

    Example:
        >>> has_compiler() in (True, False)
        True
    """
    names = ["cl"] if sys.platform == "win32" else [os.environ.get("CXX", "g++"), "g++", "clang++"]
    return any(shutil.which(name) for name in names)
