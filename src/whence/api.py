"""What higher layers add to runs: the studio's views, the trace of a step, the doctor.

`whence.runs` knows nothing of what opens and shows its numbers. `from whence import Run` comes by
here, and gives a run with all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.doctor import Diagnosis
    from whence.runs.replay import Moment


def view(run: Run, name: str = "live", **params: Any) -> Any:
    """Return a view of the studio on a run as a notebook's widget.

    Args:
        run: the run.
        name: `live`, `prediction`, `flow`, `cell`, `receipt` and the like.
        **params: the view's own, such as `step=30`.

    Raises:
        WhenceError: where anywidget is missing, or the view can't show that.

    Example:
        >>> Run.open("runs/mine").view("receipt", step=30)  # doctest: +SKIP
    """
    from whence.studio.widget import View

    return View(run.path.parent, name, {"run": run.path.name, **params})


def rewind(run: Run, step: int, approximate: bool = False) -> Moment:
    """Go back to the state before a step, which can be traced; see `whence.runs.replay.go_to`.

    Args:
        run: the run.
        step: from 0 to the number of steps done, which is the state at the end.
        approximate: go on where a replayed loss differs from the record, and say how far off.

    Example:
        >>> import tempfile
        >>> from whence.data import text_source
        >>> from whence import GPTConfig, Recipe, Run
        >>> tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
        >>> cats = text_source("cats", lambda: ["the cat sat on the mat. " * 99])
        >>> run = Run.create(Recipe(model=tiny, steps=3), f"{tempfile.mkdtemp()}/tiny", cats)
        >>> events = list(run.train())
        >>> moment = rewind(run, 2)
        >>> moment.recorded == run.steps[2]["loss"]
        True
    """
    from whence.runs.replay import go_to
    from whence.why.history import moments

    assert moments.Moment.trace  # `whence.why` gives a moment its trace
    return go_to(run, step, approximate)


def diagnose(run: Run, *, seconds: float = 20.0) -> Diagnosis:
    """Say what is wrong with a run, worst first, and on what evidence.

    Args:
        run: the run.
        seconds: what going back to steps and measuring there may take, about.

    Returns:
        The findings, what was looked at, and what could not be judged.

    Example:
        >>> print(Run.open("runs/mine").diagnose())  # doctest: +SKIP
    """
    from whence.doctor import diagnose as visit

    return visit(run, seconds=seconds)


Run.view = view
Run.diagnose = diagnose
Run.at = rewind  # pyright: ignore[reportAttributeAccessIssue]  # it says run where a method says self

__all__ = ["Run", "diagnose", "rewind", "view"]
