"""Whence? Any number of any training step, opened into the arithmetic that made it."""

from whence.receipt import Receipt
from whence.why.address import Address
from whence.why.attribution.groups import Blame
from whence.why.attribution.moved import Moved, moved
from whence.why.history.biography import Biography, biography
from whence.why.history.influence import Taught, taught
from whence.why.number import Number, Numbers
from whence.why.receipts.balance import Balance, balance
from whence.why.receipts.check import Check
from whence.why.receipts.first_bad import FirstBad, first_bad
from whence.why.step import trace
from whence.why.trace import Trace

__all__ = [
    "Address",
    "Balance",
    "Biography",
    "Blame",
    "Check",
    "FirstBad",
    "Moved",
    "Number",
    "Numbers",
    "Receipt",
    "Taught",
    "Trace",
    "balance",
    "biography",
    "first_bad",
    "moved",
    "taught",
    "trace",
]
