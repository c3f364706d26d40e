"""Rules of operations that make each element from the elements at the same place."""
