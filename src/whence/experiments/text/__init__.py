"""What a text teaches: counts, context, and the words of small models."""
