"""What a step's numbers run over and are called: streams of tokens, axes, labels."""
