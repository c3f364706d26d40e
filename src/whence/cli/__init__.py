"""The command line: a table of verbs, each a function of its own module, imported when called."""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from whence import __version__
from whence.cli.interrupts import remembered
from whence.cli.screen import Screen
from whence.errors import WhenceError
from whence.scale.process import tune_process
from whence.scale.team import is_one_of_many

# what for: verb: (module of this package:function, what it does)
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "train": {
        "train": ("training.train:train", "train a model on your text, or on a built-in one"),
        "plan": ("training.plan:plan", "what a training will need: memory, time, what fits"),
        "resume": ("training.train:resume", "continue a run from its last checkpoint"),
        "sweep": ("training.sweep:sweep_command", "train one recipe at several settings"),
        "control": ("training.control:control", "pause, slow, step or stop a training elsewhere"),
        "runs": ("training.runs:runs", "list runs; 'whence runs remove NAME' deletes one"),
        "generate": ("models.generate:generate", "write text with a trained model"),
        "chat": ("models.chat:chat", "talk to a model that was trained to talk"),
        "serve": ("models.serve:serve", "serve a model through OpenAI's API"),
        "import": ("models.import_:import_", "turn a model that others trained into a run"),
        "export": ("models.export:export", "write a model for other programs"),
        "evaluate": ("models.evaluate:evaluate", "measure a model on all of a text"),
    },
    "look inside": {
        "why": ("inside.why:why", "open any number in any training step"),
        "spikes": ("inside.spikes:spikes", "the steps that stand out, and how to open each"),
        "doctor": ("inside.doctor:doctor", "what is wrong with a run, and what to do"),
        "biography": ("inside.biography:biography", "the history of one weight, step by step"),
        "influence": ("inside.influence:influence", "which training windows moved a prediction"),
        "growth": ("inside.growth:growth", "how P of each token of a text grew over the steps"),
        "report": ("inside.report:report", "a run as one HTML file to send around"),
        "probability": ("models.probability:probability", "P of a text, token by token"),
        "prefer": ("models.judge:prefer", "minimal pairs: which of two texts is likelier"),
        "attention": ("models.look:attention", "which token reads which, head by head"),
        "silence": ("models.look:silence", "what each head and part is for: leave it out"),
        "context": ("models.judge:context", "loss by position: how much more context helps"),
        "embed": ("models.embed:embed", "how similar texts, or a word in them, are to a model"),
    },
    "go back": {
        "rewind": ("back.rewind:rewind", "go back to the exact state before any step"),
        "fork": ("training.fork:fork", "branch a run at a step and change something"),
        "compare": ("back.compare:compare", "compare two runs"),
        "what-if": ("back.whatif:what_if", "replay a run without some of its text"),
        "verify": ("back.verify:verify", "prove by replay that a run is what its record says"),
    },
    "small models": {
        "line": ("small.line:line", "fit a line to a table, every number shown"),
        "net": ("small.net:net", "work a small network by hand: each product, slope and update"),
        "play": ("small.play:play", "a small model at any step, on points, a line or by hand"),
        "rates": ("small.rates:rates", "try five learning rates, and a range test"),
        "gradcheck": ("small.gradcheck:gradcheck", "check gradients by finite differences"),
        "classify": (
            "small.classifying.classify:classify",
            "learn classes: spam or not, topics, digits",
        ),
        "count": ("small.count:count", "count which word follows which, every number shown"),
        "sentence": ("small.sentence:sentence", "learn one sentence, every number shown"),
        "ladder": ("small.ladder:ladder", "every kind of model on one text, one table"),
        "experiment": ("small.experiment:put", "answer a question with small models"),
    },
    "learn": {
        "journey": ("lesson:journey", "lessons, from one dial to a GPT"),
        "lesson": ("lesson:lesson", "play one lesson"),
    },
    "studio": {
        "studio": ("studio:studio", "see, train and open runs in your browser"),
    },
}
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
OLD = {"taught": "influence"}  # what a verb was called, still understood
# Verbs whose function reads the words itself: their flags depend on them.
OWN_WORDS = ("train", "plan", "runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; bad input ends with one sentence and exit code 2.

    Example:
        >>> main(["--version"])
        whence 0.2.0
        0
    """
    ours = arguments is None  # as a command: the process is ours
    if ours:
        tune_process()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Text with any character can be printed on any terminal.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors="replace")
    with redirect_stdout(Screen(sys.stdout)), redirect_stderr(Screen(sys.stderr)):
        status = _told(arguments)
    if ours and is_one_of_many():
        _end_at_once(status)
    return status


def _end_at_once(status: int) -> None:
    """End a process of a team without Python's own clearing up.

    All is written and closed by then. The threads of PyTorch's process groups may still run, and
    one of them that asks for Python while it is being taken down aborts the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _told(arguments: list[str]) -> int:
    """Run a verb, and say in a sentence what it refuses."""
    try:
        with remembered():
            status = _run(arguments)
            sys.stdout.flush()
        return status
    except WhenceError as error:
        print(f"whence: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("whence: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, a pager) has gone: nothing is left to be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        from whence.scale.limits import memory_ran_out

        if memory_ran_out(error):
            said = "the memory ran out: close other programs, or take a smaller model or batch_size"
        elif isinstance(error, OSError) and error.errno is not None:
            where = error.filename or "a file"
            said = f"{where} can't be read or written ({error.strerror}): check its disk and rights"
        else:
            raise
        print(f"whence: {said}.", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if len(arguments) > 1 and arguments[0] == "help":  # `whence help train`
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"whence {__version__}")
        return 0
    return _call(arguments[0], arguments[1:])


def _call(verb: str, rest: list[str]) -> int:
    import difflib

    verb = OLD.get(verb, verb)
    if verb not in VERBS:
        from whence.models.kinds import MODELS

        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else "'whence --help' lists the commands."
        if verb in MODELS:
            hint = f"it is a model, 'whence train --model {verb}'."
        raise WhenceError(f"Unknown command {verb!r}: {hint}")
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(importlib.import_module(f"whence.cli.{module}"), name)
    if verb in OWN_WORDS:
        return function(rest) or 0
    from whence.cli.words import call

    return call(function, rest, f"whence {verb}") or 0


def _help() -> str:
    width = max(map(len, VERBS)) + 2
    lines: list[str] = []
    for purpose, verbs in GROUPS.items():
        lines += ["", purpose]
        lines += [f"  {verb:<{width}}{what}" for verb, (_, what) in verbs.items()]
    return "\n".join(
        [
            "Train models, from a line to a GPT, and ask of any number where it came from.",
            "",
            "usage: whence COMMAND ...    'whence COMMAND --help' says what it takes",
            *lines,
            "",
            "new here?                  whence lesson 0",
            "your own text              whence train my.txt",
            "your own PyTorch code      python -c 'import whence; help(whence.watch)'",
            "limits                     text, no images or sound",
        ]
    )
