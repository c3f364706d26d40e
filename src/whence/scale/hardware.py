"""What a run is computed on: probed at the start, so that the default always works."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.errors import WhenceError
from whence.fields import check_fields

if TYPE_CHECKING:
    import torch

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
        tf32: on CUDA, round the factors of float32 products to 10 bits (TF32): faster, less exact.
        parallel: with several processes, `ddp` gives each all weights and `fsdp` a share of them.
        reduction: `ordered` adds the gradients of a batch's parts in one order, so that 1, 2, 4 …
            processes give the same bits; `fast` leaves the order to the engine.

    Raises:
        WhenceError: where a number is outside its range.

    Example:
        >>> Hardware(device="cpu", precision="fp32").resolved().precision
        'fp32'
    """

    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    threads: int | None = None
    deterministic: bool = True
    tf32: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    reduction: Literal["fast", "ordered"] = "fast"

    def __post_init__(self):
        check_fields(self, "hardware.")
        if self.reduction == "ordered" and self.parallel == "fsdp":
            raise WhenceError(
                "hardware.reduction is ordered, which fsdp doesn't support, as it adds gradients "
                "while it shards them: set hardware.parallel to ddp."
            )
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise WhenceError(f"hardware.threads is {self.threads}: give 1 to 1024.")

    def resolved(self) -> Hardware:
        """Replace every `auto` by what this machine has.

        Raises:
            WhenceError: where the device, the threads or the compiler asked for aren't there.
        """
        device = find_device(self.device)
        threads = _threads(self.threads)
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if _bfloat16_is_faster(device) else "fp32"
        if self.compile and device == "cpu" and not has_compiler():
            raise WhenceError(
                "hardware.compile needs a C++ compiler and none was found: install one (such as "
                "g++ or clang++) or leave compile off."
            )
        return replace(self, device=device, precision=precision, threads=threads)

    def in_force(self) -> AbstractContextManager[None]:
        """Return the context in which PyTorch's settings are those of a run on this.

        Threads, deterministic kernels, the precision of products, the default type and PyTorch's
        random generators are the caller's again afterwards.

        Example:
            >>> import torch
            >>> with Hardware(device="cpu", threads=1).in_force():
            ...     torch.get_num_threads()
            1
        """
        from whence.scale.conditions import conditions

        return conditions(self.threads, self.deterministic, self.device, self.tf32)

    def context(self) -> AbstractContextManager[None]:
        """Return the context in which a forward pass has this precision."""
        return _bfloat16(self.device) if self.precision == "bf16" else nullcontext()

    @property
    def matmul_dtype(self) -> torch.dtype:
        """The dtype of matrix products outside autocast, such as Muon's."""
        import torch

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


@contextmanager
def _bfloat16(device: str) -> Iterator[None]:
    import torch

    with torch.autocast(device, torch.bfloat16):
        yield
    # Inside an autocast of the caller's the weights' copies in bfloat16 would outlive their update.
    torch.clear_autocast_cache()


def _threads(wanted: int | None) -> int:
    import torch

    from whence.scale.openmp import thread_limit

    limit = thread_limit() or 1024
    if wanted is not None and wanted > limit:
        raise WhenceError(
            f"hardware.threads is {wanted} and OMP_THREAD_LIMIT allows {limit}, so that some "
            "kernels would leave a part of their result unwritten: unset it, or train with "
            f"--hardware.threads {limit}."
        )
    return wanted or min(torch.get_num_threads(), limit)


def device_name(device: str) -> str:
    """Return what a person calls the device.

    Example:
        >>> device_name("cpu").startswith("CPU")
        True
    """
    import torch

    if device == "cuda":
        return f"CUDA: {torch.cuda.get_device_name()}"
    return "Apple GPU" if device == "mps" else f"CPU ({platform.machine() or 'unknown'})"


def manifest(hardware: Hardware, processes: int = 1) -> dict[str, str | int]:
    """Return what the bits of a run depend on besides its recipe.

    Args:
        hardware: resolved.
        processes: how many train together; where gradients are added in order, bits don't depend
            on that and it isn't noted.

    Example:
        >>> sorted(manifest(Hardware().resolved()))[:3]
        ['code', 'cpu', 'device']
    """
    import numpy
    import torch

    from whence import __version__

    return {
        "whence": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
        "environment": _environment(),
        "device": device_name(hardware.device),
        "threads": hardware.threads or torch.get_num_threads(),
        **({} if hardware.reduction == "ordered" else {"processes": processes}),
    }


# What the libraries under PyTorch read once, at their start, to choose their kernels.
VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
# Instructions that oneDNN has kernels of their own for, from the newest on.
INSTRUCTIONS = ("amx_fp16", "amx_bf16", "amx_int8", "avx512_fp16", "avx512_bf16", "avx512_vnni")


def _environment() -> str:
    found = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    return " ".join(found) or "no variable that chooses kernels"


def _processor() -> str:
    """The processor's name and what oneDNN chooses kernels by, where PyTorch tells it."""
    import torch

    known = getattr(torch.cpu, "get_capabilities", dict)()
    parts = [str(known.get("cpu_name", platform.machine() or "unknown"))]
    parts += [name for name in INSTRUCTIONS if known.get(name)]
    return " ".join(parts)


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
    import torch

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
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return False
    return _cpu_multiplies_bfloat16()


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it; timing it instead goes wrong on a busy machine."""
    import torch

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
