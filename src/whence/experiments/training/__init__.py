"""How a model is trained: optimizers, rates, sweeps, the ladder, and scale."""
