"""What the doctor measures by doing a step again: weights, units, attention, logits, data."""
