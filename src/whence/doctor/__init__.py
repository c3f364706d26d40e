"""The doctor: what is wrong with a training, on what evidence, and whether the cure helps."""

from whence.doctor.diagnose import diagnose, gather
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Diagnosis, Fact, Finding, Proof
from whence.doctor.rules import RULES, Rule

__all__ = [
    "RULES",
    "Change",
    "Diagnosis",
    "Evidence",
    "Fact",
    "Finding",
    "Proof",
    "Rule",
    "diagnose",
    "gather",
]
