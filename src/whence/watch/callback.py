"""What the callbacks of other trainers share: where they write to, and the recorder they began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from whence.errors import WhenceError
from whence.watch.recorder import Recorder
from whence.watch.watching import watch


class Callback:
    """Watches another library's trainer; its children say when that begins and ends.

    Args:
        out: the folder; none: one in `runs/`.
        options: those of `whence.watch`.

    Example:
        >>> Callback("runs/mine").recorder
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: nothing is watched yet: the trainer hasn't begun to train.
    """

    def __init__(self, out: Path | str | None = None, **options: Any):
        self._out, self._options = out, options
        self._recorder: Recorder | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder of the last training.

        Raises:
            WhenceError: none has begun.
        """
        if self._recorder is None:
            raise WhenceError("nothing is watched yet: the trainer hasn't begun to train.")
        return self._recorder

    def _begin(
        self, model: nn.Module | dict[str, nn.Module], optimizers: Any, **found: Any
    ) -> None:
        """Watch; what the user gave goes before what was found."""
        self._recorder = watch(model, optimizers, self._out, **{**found, **self._options})
