"""Questions put to models that are trained for it: one sentence, the ladder, experiments."""
