"""Conversations with a model: the template, the turns, the answers that are kept."""
