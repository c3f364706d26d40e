"""What a script reads while a model learns: one JSON line for each event."""

import sys
from typing import Any

from whence.cli.document import strict
from whence.doctor.live import Live
from whence.runs.remarks import remarks
from whence.runs.run import Run
from whence.runs.training.events import Differed, Evaluated, Event, Noted, Sampled, Saved, Stepped

SCHEMA = 1


class JsonDisplay:
    """Prints one JSON line for each event."""

    def __init__(self, run: Run):
        self.run = run
        self.doctor = Live(run)

    def __enter__(self):
        recipe = self.run.recipe
        self._print("run", {"path": str(self.run.path), "recipe": recipe.to_dict()})
        for remark in remarks(recipe, self.run.dataset):
            self._print("note", {"text": remark})
        return self

    def __exit__(self, *_):
        pass

    def say(self, text: str) -> None:
        """Keep standard output to JSON."""
        print(text, file=sys.stderr)

    def show(self, event: Event) -> None:
        """Print the event."""
        names = {Stepped: "step", Evaluated: "evaluation", Sampled: "sample"}
        if isinstance(event, Stepped | Evaluated | Sampled):
            self._print(names[type(event)], event.to_record())
        elif isinstance(event, Saved):
            self._print("checkpoint", {"step": event.step})
        elif isinstance(event, Noted):
            self._print("note", {"text": event.text})
        elif isinstance(event, Differed):
            record = {"step": event.step, "recorded": event.recorded, "loss": event.loss}
            self._print("difference", record)
        else:
            self._print("end", {"step": event.step, "why": event.why})
        for finding in self.doctor.note(event):
            self._print("finding", finding.to_dict())

    def measuring(self, done: int, total: int) -> None:
        """Print nothing: a measurement is an event when it is done."""

    def close(self) -> None:
        """End; nothing is left to print."""

    def _print(self, kind: str, record: dict[str, Any]) -> "JsonDisplay":
        print(strict({"schema": SCHEMA, "event": kind, **record}), flush=True)
        return self
