"""What models are built of: attention, feed-forward parts, norms, positions."""
