"""The journey: sixteen lessons as scripts that run, and the few helpers that they use.

A lesson is a script in percent format in `lessons/`. It is read as a notebook, played in a terminal
(`whence lesson 3`) and shown in the studio; `Play(lesson(3))` runs it cell by cell.
"""

from whence.lessons.cells import Blank, Cell, Lesson, lesson, lessons
from whence.lessons.charts import bars, curves
from whence.lessons.film import Film, moving
from whence.lessons.flow import Box, flow
from whence.lessons.grids import grid
from whence.lessons.passing import passing
from whence.lessons.play import Output, Play
from whence.lessons.scratch import scratch
from whence.lessons.surface import descent
from whence.lessons.svg import Picture, figure
from whence.lessons.talk import Answer, Checked, Question, Said, ask, check, reveal, say, table

__all__ = [
    "Answer",
    "Blank",
    "Box",
    "Cell",
    "Checked",
    "Film",
    "Lesson",
    "Output",
    "Picture",
    "Play",
    "Question",
    "Said",
    "ask",
    "bars",
    "check",
    "curves",
    "descent",
    "figure",
    "flow",
    "grid",
    "lesson",
    "lessons",
    "moving",
    "passing",
    "reveal",
    "say",
    "scratch",
    "table",
]
