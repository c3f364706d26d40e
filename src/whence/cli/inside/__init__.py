"""Verbs that open a run: any number of a step, its history, what is wrong with it."""
