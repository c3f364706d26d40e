"""Rules of layers: attention, convolution, recurrence, normalisation, pooling."""
