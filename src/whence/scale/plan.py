"""What a run will need, estimated before it starts: memory and disk."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from whence.errors import WhenceError, in_bytes
from whence.scale.limits import memory_left


@dataclass(frozen=True)
class Plan:
    """The bytes that a training step needs at its peak, and its parts.

    Attributes:
        n_parameters: how many numbers are learnt.
        weights: bytes of the parameters.
        gradients: bytes of their gradients.
        moments: bytes of the optimizer's memory, two for each parameter.
        activations: bytes kept from the forward pass for the backward pass.
        flops: floating-point operations of the products of the forward and the backward pass, which
            takes twice as many; a multiplication and an addition count as two.

    Example:
        >>> Plan(n_parameters=1, weights=4, gradients=4, moments=8, activations=100).memory
        116
    """

    n_parameters: int
    weights: int
    gradients: int
    moments: int
    activations: int
    flops: int = 0

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.weights + self.gradients + self.moments + self.activations

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint on disk: weights and moments."""
        return self.weights + self.moments


def plan(build: Callable[[], nn.Module], batch: tuple[int, int]) -> Plan:
    """Count what a step on a batch needs, without doing it.

    The model is built and run on PyTorch's `meta` device, which has shapes and no numbers. What
    autograd saves there is what it would save.

    Args:
        build: makes the model.
        batch: [windows, tokens] of one part of a batch.

    Returns:
        The plan; activations in float32, so for bfloat16 it is an upper bound.

    Example:
        >>> plan(lambda: nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10)), (2, 3)).n_parameters
        90
    """
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = build()
        own = {p.untyped_storage()._cdata for p in model.parameters()}
        tokens = torch.zeros(batch, dtype=torch.long)
        saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with saving, FlopCounterMode(display=False) as counted:
            logits = model(tokens)
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    activations = sum(t.untyped_storage().nbytes() for key, t in saved.items() if key not in own)
    # The gradient of the logits is made while they are still held.
    activations += logits.numel() * logits.element_size()
    n_parameters = sum(p.numel() for p in model.parameters())
    flops = 3 * counted.get_total_flops()
    return Plan(n_parameters, weights, weights, 2 * weights, activations, flops)


def check_memory(needed: int, device: str, advice: str) -> None:
    """Refuse what won't fit.

    Args:
        needed: bytes.
        device: `cpu` or `cuda`; others aren't checked.
        advice: what to change, for the error.

    Raises:
        WhenceError: saying how much is needed and how much there is.

    Example:
        >>> check_memory(1, "cpu", "")
    """
    there = available_memory(device)
    if there is not None and needed > there:
        raise WhenceError(
            f"this needs about {in_bytes(needed)} of memory and {in_bytes(there)} are free: "
            f"{advice}."
        )


def check_disk(needed: int, folder, advice: str) -> None:
    """Refuse what won't fit on the disk.

    Args:
        needed: bytes.
        folder: a folder that is there, on the disk in question.
        advice: what to change, for the error.

    Raises:
        WhenceError: saying how much is needed and how much there is.

    Example:
        >>> check_disk(1, ".", "")
    """
    import shutil

    there = shutil.disk_usage(folder).free
    if needed > there:
        raise WhenceError(
            f"this needs about {in_bytes(needed)} of disk and {in_bytes(there)} are free in "
            f"{folder}: {advice}."
        )


def available_memory(device: str) -> int | None:
    """Return how many bytes of memory this process may take, or none where that isn't known.

    On the CPU it is the least of what the machine has and what its cgroup and ulimit leave.

    Example:
        >>> available_memory("cpu") > 0
        True
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    if device == "cpu":
        return memory_left()
    return None
