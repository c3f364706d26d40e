"""Whence? Any number of any training step, opened into the arithmetic that made it."""

import warnings
from typing import Any

from whence.receipt import Receipt
from whence.why.address import Address
from whence.why.attribution.groups import Attribution
from whence.why.attribution.moved import Moved, moved
from whence.why.history.biography import Biography, biography
from whence.why.history.influence import Influence, influence
from whence.why.number import Number, Numbers
from whence.why.receipts.balance import Balance, balance
from whence.why.receipts.check import Check
from whence.why.receipts.first_bad import FirstBad, first_bad
from whence.why.step import trace
from whence.why.trace import Trace

__all__ = [
    "Address",
    "Attribution",
    "Balance",
    "Biography",
    "Check",
    "FirstBad",
    "Influence",
    "Moved",
    "Number",
    "Numbers",
    "Receipt",
    "Trace",
    "balance",
    "biography",
    "first_bad",
    "influence",
    "moved",
    "trace",
]

_OLD = {"Blame": "Attribution", "Taught": "Influence", "taught": "influence"}


def __getattr__(name: str) -> Any:
    if name not in _OLD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    said = f"whence.why.{name} is now called {_OLD[name]}; the old name goes with 0.3.0."
    warnings.warn(said, DeprecationWarning, stacklevel=2)
    return globals()[_OLD[name]]
