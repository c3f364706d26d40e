"""Verbs that make runs: train, resume, plan, sweep, fork, and the list of runs."""
