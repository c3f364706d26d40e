"""Verbs for small models, with every number shown, and for experiments with them."""
