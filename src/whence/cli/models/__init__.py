"""Verbs that use a model: write, talk, serve, measure, look at what it reads, import and export."""
