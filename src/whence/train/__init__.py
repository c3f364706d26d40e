"""Training: the one loop, optimizers, schedules, losses and evaluation."""
