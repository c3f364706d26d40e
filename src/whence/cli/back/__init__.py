"""Verbs that go back: rewind, compare, leave text out, prove a record."""
