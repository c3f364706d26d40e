"""Training: the one loop, optimisers, schedules, losses and evaluation."""
