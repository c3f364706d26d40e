"""Numbers that come from no tensor: from an operation's arguments, or drawn at random."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.opening import Opened, Part, Rule


def constant(words: str) -> Rule:
    """Make the rule of an operation whose numbers come from its arguments, not from tensors."""

    def opened(call: Call, at: Index) -> Opened:
        return Opened(words, [Part(words, value=stored(call, at))], exact=True)

    return opened


def sampled(call: Call, at: Index) -> Opened:
    """Say that the numbers were drawn at random."""
    words = f"drawn at random ({call.name})"
    part = Part(words, value=stored(call, at))
    return Opened(words, [part], exact=True, sampled=True)


def stored(call: Call, at: Index) -> np.ndarray:
    """Return the recorded numbers at the positions, [m, 1]."""
    return call.output.gather(at).reshape(-1, 1)
