"""What the figures were measured on."""

import os
import platform
from pathlib import Path

import numpy
import torch


def describe() -> str:
    """The machine, its threads and the versions, in one line."""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{load}; "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"NumPy {numpy.__version__}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{named[0] if named else platform.machine()} ({capability})"
