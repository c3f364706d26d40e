"""Trainings with one fault each, and sound ones, to hold the doctor against."""
