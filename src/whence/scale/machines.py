"""Published peaks of other machines, for a plan: their makers' figures, not measurements.

Dense products (no sparsity) of the SXM or the usual desktop form, from the makers' data sheets.
"""

from dataclasses import dataclass

from whence.errors import WhenceError
from whence.fields import nearest

SHARE = 0.4  # of the peak that a good training loop reaches on large models; small ones reach less


@dataclass(frozen=True)
class Machine:
    """What a maker publishes of a device.

    Attributes:
        name: what a person calls it.
        memory: bytes.
        bf16: floating-point operations a second in bfloat16 products; 0: it has none.
        fp32: the same in float32, without TF32.
    """

    name: str
    memory: int
    bf16: float
    fp32: float

    def seconds(self, flops: float, precision: str) -> float:
        """Return how long so many operations take at `SHARE` of the peak.

        Example:
            >>> round(MACHINES["h100"].seconds(989.4e12 * SHARE, "bf16"), 3)
            1.0
        """
        peak = self.bf16 if precision == "bf16" and self.bf16 else self.fp32
        return flops / (SHARE * peak)


def _machine(name: str, gigabytes: int, bf16: float, fp32: float) -> Machine:
    return Machine(name, gigabytes * 10**9, bf16 * 1e12, fp32 * 1e12)


MACHINES = {
    "t4": _machine("NVIDIA T4", 16, 0, 8.1),
    "l4": _machine("NVIDIA L4", 24, 121, 30.3),
    "rtx3090": _machine("NVIDIA RTX 3090", 24, 71, 35.6),
    "rtx4090": _machine("NVIDIA RTX 4090", 24, 165.2, 82.6),
    "rtx5090": _machine("NVIDIA RTX 5090", 32, 209.5, 104.8),
    "v100": _machine("NVIDIA V100", 32, 0, 15.7),
    "a100": _machine("NVIDIA A100", 80, 312, 19.5),
    "h100": _machine("NVIDIA H100", 80, 989.4, 66.9),
    "h200": _machine("NVIDIA H200", 141, 989.4, 66.9),
    "b200": _machine("NVIDIA B200", 180, 2250, 75),
    "mi300x": _machine("AMD MI300X", 192, 1307.4, 163.4),
}


def machine_called(name: str) -> Machine | None:
    """Return the machine with a device's name; None if it isn't in the table.

    Example:
        >>> machine_called("NVIDIA H100 80GB HBM3").name
        'NVIDIA H100'
    """
    words = name.lower().replace("-", " ").split()
    for known in MACHINES.values():
        if all(word in words for word in known.name.lower().split()):
            return known
    return None


def utilisation(flops_per_second: float, name: str, precision: str) -> float | None:
    """Return MFU, model FLOPs utilisation: the share of the device's published peak that is used.

    Args:
        flops_per_second: of the model's own products, forward and backward.
        name: of the device, as its driver gives it.
        precision: `bf16` or `fp32`.

    Returns:
        None where no peak is known, as of a CPU.

    Example:
        >>> round(utilisation(395.76e12, "NVIDIA H100 80GB HBM3", "bf16"), 3)
        0.4
        >>> utilisation(1e12, "CPU (x86_64)", "bf16") is None
        True

    Source:
        Chowdhery et al., "PaLM", 2022, appendix B.
    """
    known = machine_called(name)
    if known is None:
        return None
    return flops_per_second / (known.bf16 if precision == "bf16" and known.bf16 else known.fp32)


def machine(name: str) -> Machine:
    """Look a machine up.

    Raises:
        WhenceError: where it isn't in the table, naming the nearest.

    Example:
        >>> machine("a100").memory
        80000000000
    """
    if name.lower() in MACHINES:
        return MACHINES[name.lower()]
    raise WhenceError(f"the machine {name} isn't in the table{nearest(name, MACHINES)}")
