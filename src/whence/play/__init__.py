"""Small models to play with: a line, networks worked by hand, points in the plane.

A state is a pure function of the setup, the edits and the number of steps, so that a link holds it.
"""

from whence.play.session import Edit, Session, Shut, at, read_edit
from whence.play.setup import PRESETS, Setup, setup

__all__ = ["PRESETS", "Edit", "Session", "Setup", "Shut", "at", "read_edit", "setup"]
