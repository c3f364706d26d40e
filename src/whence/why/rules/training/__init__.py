"""Rules of training: losses and optimizers."""
