"""Receipts: the terms that add up to a number, what they are called, and the checks on them."""
