"""A step done again: from memory, from a dump, and across steps."""
