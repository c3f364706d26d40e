"""A graph of `Value`s recorded once and computed again in machine code."""
