"""What a run is asked: probabilities, attention, embeddings, its curves, and what if."""
