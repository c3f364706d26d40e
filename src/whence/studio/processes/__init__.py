"""Work in processes of their own, so that no page waits: training, and making a run."""
