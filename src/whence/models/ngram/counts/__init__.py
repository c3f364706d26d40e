"""Counting n-grams: sparse, of any order, in memory that has a limit."""
