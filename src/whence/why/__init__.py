"""Whence? Any number of any training step, opened into the arithmetic that made it."""

from whence.why.address import Address
from whence.why.balance import Balance, balance
from whence.why.number import Number, Numbers
from whence.why.receipt import Receipt
from whence.why.trace import Trace, trace

__all__ = ["Address", "Balance", "Number", "Numbers", "Receipt", "Trace", "balance", "trace"]
