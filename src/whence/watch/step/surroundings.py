"""What a call of a module depends on besides its inputs: random generators and autocast."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Generators:
    """The states of the random generators: torch's on each device, Python's and NumPy's."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> Generators:
        """Read the states."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()
        return cls(torch.get_rng_state(), tuple(cuda), random.getstate(), np.random.get_state())

    def restore(self) -> None:
        """Put the generators into these states."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        random.setstate(self.python)
        np.random.set_state(self.numpy)


@dataclass(frozen=True)
class Autocast:
    """Autocast on a device, where it is switched on.

    Attributes:
        device: `cpu`, `cuda`, …
        dtype: what it computes in.
        cached: whether it keeps weights that it has converted.
        region: the same object for all calls inside one `with torch.autocast(...)`: these share
            the converted weights, whose gradients are then added up in the lower precision.
    """

    device: str
    dtype: torch.dtype
    cached: bool
    region: Any


def autocast_now(probes: dict[str, nn.Parameter]) -> tuple[Autocast, ...]:
    """Tell where autocast is on.

    Args:
        probes: for each device a parameter of one number, made when it is needed. Whether two
            calls are in one region is seen from it: autocast converts a parameter once a region.
    """
    found = []
    accelerator = torch.accelerator.current_accelerator()
    devices = {"cpu"} | ({accelerator.type} if accelerator else set())
    for device in sorted(devices):
        if not torch.is_autocast_enabled(device):
            continue
        cached, region = torch.is_autocast_cache_enabled(), None
        if cached and torch.is_grad_enabled():
            if device not in probes:
                probes[device] = nn.Parameter(torch.ones(1, 1, device=device))
            product = probes[device] @ probes[device]
            assert product.grad_fn is not None
            region = product.grad_fn.next_functions[0][0]
        found.append(Autocast(device, torch.get_autocast_dtype(device), cached, region))
    return tuple(found)


class Regions:
    """Enters and leaves autocast as the recorded calls were in it; close it with `close`.

    Attributes:
        now: where it is.
    """

    def __init__(self):
        self._stack = ExitStack()
        self.now: tuple[Autocast, ...] = ()

    def enter(self, wanted: tuple[Autocast, ...]) -> None:
        """Enter these regions; ones that are already entered stay as they are."""
        if wanted == self.now and all(a.region is not None for a in wanted):
            return
        self.close()
        self.now = wanted
        for one in wanted:
            self._stack.enter_context(
                torch.autocast(one.device, dtype=one.dtype, cache_enabled=one.cached)
            )

    def close(self) -> None:
        """Leave them."""
        self._stack.close()
        self._stack, self.now = ExitStack(), ()
