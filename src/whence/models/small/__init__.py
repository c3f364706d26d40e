"""The first rungs: a line, small networks, the bigram, the character MLP."""
