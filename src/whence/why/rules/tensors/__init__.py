"""Rules of operations that move, pick, add up and multiply whole tensors."""
