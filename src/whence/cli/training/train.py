"""`whence train` and `whence resume`: train, watch, and say what to do next."""

import math
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from whence.cli import interrupts
from whence.cli.training.processes import TOLD, check_processes, is_restarted, launch, together
from whence.cli.training.recipes import TrainArguments, parse_training
from whence.errors import WhenceError
from whence.runs.questions.export import FORMATS, export_metrics
from whence.runs.run import Run
from whence.runs.training.control import train_controlled
from whence.runs.training.creation import at_free
from whence.scale.team import Team, is_one_of_many

LONGER = 500  # characters or so of the last sample


def train(words: list[str]) -> None:
    """Train a model, showing how it learns."""
    arguments = parse_training(words)
    _check_formats(arguments.export_metrics)
    check_processes(arguments.processes, arguments.restarts)
    told = arguments.json, arguments.export_metrics
    if arguments.processes > 1 and not is_one_of_many():
        run = _run_of(arguments, arguments.processes)
        _in_processes(run.path, arguments.processes, arguments.restarts, *told)
        return
    with together(arguments.recipe.hardware.device) as team:
        if team is not None and not team.leads:
            _take_part(team)
            return
        watch(_run_of(arguments, team.size if team else 1), None, *told, team)


def _in_processes(
    run: Path,
    processes: int,
    restarts: int,
    as_json: bool,
    formats: tuple[str, ...] | None,
    steps: int | None = None,
) -> None:
    """Train a run that is on disk in several processes: each of them resumes it."""
    words = ["resume", str(run), *(["--json"] if as_json else [])]
    words += ["--steps", str(steps)] if steps is not None else []
    words += ["--export-metrics", *formats] if formats else []
    launch(words, processes, restarts, run)


def _take_part(team: Team) -> None:
    from whence.runs.together import take_part

    take_part(team)


def _run_of(arguments: TrainArguments, processes: int) -> Run:
    """Make the requested run; after a restart, continue it."""
    out = arguments.out
    if is_restarted() and out is not None and (out / "run.toml").is_file():
        return Run.open(out)
    recipe = arguments.recipe  # each process takes as many parts of a batch as the others
    recipe = replace(recipe, accumulate=math.lcm(recipe.accumulate, processes))
    from whence.cli.training.preparing import told_of_tokens

    source = recipe.data.open()
    if source.skipped:
        names = ", ".join(source.skipped[:5]) + (", …" if len(source.skipped) > 5 else "")
        print(f"left out {len(source.skipped)} that aren't text: {names}", file=sys.stderr)
    if source.repeated:
        print(f"named or linked to twice, read once: {', '.join(source.repeated)}", file=sys.stderr)
    with told_of_tokens(arguments.json) as told:
        if arguments.start is None:
            return Run.create(recipe, out, source, told)
        from whence.runs.start import start_from  # which computes: --help needs no PyTorch

        start = Run.open(arguments.start)

        def make(path: Path) -> Run:
            return start_from(start, recipe, path, source, told)

        return make(out) if out is not None else at_free(Path("runs"), source.name, make)


def resume(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    steps: int | None = None,
    json: bool = False,
    export_metrics: tuple[str, ...] | None = None,
    processes: int = 1,
    restarts: int = 0,
) -> None:
    """Continue a run from its last checkpoint, with the same bits as if it had never stopped.

    Args:
        run: the run's folder, such as runs/topics-1.
        steps: the run's new length in steps.
        json: print one JSON line for each event instead of the display.
        export_metrics: also write the record as `csv`, or for `tensorboard`, `wandb` or `trackio`.
        processes: the number of processes to train in, on this machine.
        restarts: how often to start all processes again if one dies.
    """
    _check_formats(export_metrics)
    opened = Run.open(run)
    check_processes(processes, restarts)
    if processes > 1 and not is_one_of_many():
        _in_processes(run, processes, restarts, json, export_metrics, steps)
        return
    with together(opened.recipe.hardware.device) as team:
        if team is not None and not team.leads:
            _take_part(team)
            return
        watch(opened, steps, json, export_metrics, team)


def watch(
    run: Run,
    steps: int | None,
    as_json: bool,
    formats: tuple[str, ...] | None,
    team: Team | None = None,
) -> None:
    """Train a run, showing how it goes, until its end or Ctrl-C."""
    from whence.cli.training.display import display_for
    from whence.cli.training.json_display import JsonDisplay

    run.check_unfinished(steps)
    if steps is not None:
        run.recipe = replace(run.recipe, steps=steps)
    display = JsonDisplay(run) if as_json else display_for(run)
    with display, _Stop() as stop:  # there is nothing to save before the first step

        def measuring(done: int, total: int) -> bool:
            display.measuring(done, total)
            return stop.asked

        events = train_controlled(run, steps, lambda: stop.asked, measuring=measuring, team=team)
        for event in events:
            display.show(event)
    for name in formats or ():
        display.say(f"metrics: {export_metrics(run, name)}")
    display.close()


def _check_formats(formats: tuple[str, ...] | None) -> None:
    if formats == ():
        raise WhenceError(f"--export-metrics needs a format: choose from {', '.join(FORMATS)}.")
    for name in formats or ():
        if name not in FORMATS:
            raise WhenceError(
                f"--export-metrics {name} is unknown: choose from {', '.join(FORMATS)}."
            )


class _Stop:
    """The first Ctrl-C asks the run to save and end; the second ends at once."""

    asked = False

    def __enter__(self):
        self.asked = interrupts.seen()  # before the run could listen
        numbers = [signal.SIGINT, signal.SIGTERM]
        if TOLD in os.environ:  # the launcher's, where another process has died: end at once
            numbers.remove(signal.SIGTERM)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            numbers.append(signal.SIGHUP)  # the terminal was closed; nohup ignores it
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        with suppress(OSError):  # the terminal may be gone
            print("\nstopping after this step, to save it (again: at once)", file=sys.stderr)
        signal.signal(number, signal.default_int_handler)
