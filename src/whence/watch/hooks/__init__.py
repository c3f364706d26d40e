"""The hooks that hear a step, and how it ends."""
