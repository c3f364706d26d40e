"""Receipts: one record and one way to write it, for both engines; imports neither."""

from whence.receipt.record import SCHEMA, Others, Receipt, Term, added_up

__all__ = ["SCHEMA", "Others", "Receipt", "Term", "added_up"]
