"""What the parts of a model do: blocks, heads, positions, memory."""
