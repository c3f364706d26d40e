"""What a step of someone's loop consists of: calls, gradients that arrive, updates."""
