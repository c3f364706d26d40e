"""`whence train` and `whence resume`: train, watch, and say what to do next."""

import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from whence.cli import interrupts
from whence.cli.recipes import parse_training
from whence.errors import WhenceError
from whence.runs.questions.export import FORMATS, export_metrics
from whence.runs.run import Run
from whence.runs.training.control import train_controlled
from whence.runs.training.creation import free_path

LONGER = 500  # characters or so of the last sample


def train(words: list[str]) -> None:
    """Train a model, showing how it learns."""
    arguments = parse_training(words)
    _check_formats(arguments.export_metrics)
    from whence.cli.preparing import told_of_tokens

    source = arguments.recipe.data.open()
    if source.skipped:
        names = ", ".join(source.skipped[:5]) + (", …" if len(source.skipped) > 5 else "")
        print(f"left out {len(source.skipped)} that aren't text: {names}", file=sys.stderr)
    if source.repeated:
        print(f"named or linked to twice, read once: {', '.join(source.repeated)}", file=sys.stderr)
    with told_of_tokens(arguments.json) as told:
        if arguments.start is None:
            run = Run.create(arguments.recipe, arguments.out, source, told)
        else:
            from whence.runs.start import start_from  # which computes: --help needs no PyTorch

            path = arguments.out or free_path(Path("runs"), source.name)
            run = start_from(Run.open(arguments.start), arguments.recipe, path, source, told)
    watch(run, None, arguments.json, arguments.export_metrics)


def resume(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    steps: int | None = None,
    json: bool = False,
    export_metrics: tuple[str, ...] | None = None,
) -> None:
    """Go on with a run from its last checkpoint, with the same bits as if it had never stopped.

    Args:
        run: the run's folder, such as runs/topics-1.
        steps: the run's new length in steps.
        json: print one JSON line for each event instead of the display.
        export_metrics: also write the record as `csv`, or for `tensorboard`, `wandb` or `trackio`.
    """
    _check_formats(export_metrics)
    watch(Run.open(run), steps, json, export_metrics)


def watch(run: Run, steps: int | None, as_json: bool, formats: tuple[str, ...] | None) -> None:
    """Train a run, showing how it goes, until its end or Ctrl-C."""
    from whence.cli.display import JsonDisplay, display_for

    run.check_unfinished(steps)
    if steps is not None:
        run.recipe = replace(run.recipe, steps=steps)
    display = JsonDisplay(run) if as_json else display_for(run)
    with _Stop() as stop, display:

        def measuring(done: int, total: int) -> bool:
            display.measuring(done, total)
            return stop.asked

        for event in train_controlled(run, steps, lambda: stop.asked, measuring=measuring):
            display.show(event)
    for name in formats or ():
        display.say(f"metrics: {export_metrics(run, name)}")
    display.close()


def _check_formats(formats: tuple[str, ...] | None) -> None:
    if formats == ():
        raise WhenceError(f"--export-metrics needs a form: choose from {', '.join(FORMATS)}.")
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
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            numbers.append(signal.SIGHUP)  # the terminal was closed; nohup has it ignored
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
