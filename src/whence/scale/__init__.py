"""Where and how a model is computed: device, precision, threads. Applied from outside the model."""
