"""The encoder, and the encoder–decoder of 2017."""
