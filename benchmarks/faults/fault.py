"""A fault in one kind of model, and its right names."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.models import Setting

RATE_HIGH = ("update-too-large", "diverging", "bouncing", "exploding-gradients", "not-finite")
RATE_LOW = ("update-too-small", "not-learning")


@dataclass(frozen=True)
class Fault:
    """A fault in one kind of model.

    Attributes:
        name: what is broken.
        family: the kind of model.
        right: names of the rules that name this cause.
        switches: what the loop and the model are told.
        changes: fields of the setting that differ.
        bad_step: the first bad step, as a share of all; None: there is none.
        added: the measurement that it was added for: 0 is the first.
    """

    name: str
    family: str
    right: tuple[str, ...]
    switches: dict[str, Any]
    changes: dict[str, Any] = field(default_factory=dict)
    bad_step: float | None = None
    added: int = 0

    @property
    def key(self) -> str:
        """Its name with its kind of model."""
        return f"{self.family}: {self.name}"

    @property
    def held_out(self) -> bool:
        """Whether it was set aside: half of the faults, by a checksum of their names."""
        return zlib.crc32(self.key.encode()) % 2 == 1

    def setting(self, seed: int) -> Setting:
        """The training that it is put into."""
        return Setting(self.family, seed, **self.changes)


def each(
    name: str, families: str, right: str | tuple[str, ...], switches: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None, bad_step: float | None = None, **by_family: Any,
) -> list[Fault]:  # fmt: skip
    """The same fault in several kinds of model; one that begins at a step tells the loop so."""
    right = (right,) if isinstance(right, str) else right
    when = {} if bad_step is None else {"from": bad_step}
    return [
        Fault(name, family, right, {**(switches or {}), **when, **by_family.get(family, {})},
              changes or {}, bad_step)
        for family in families.split()
    ]  # fmt: skip
