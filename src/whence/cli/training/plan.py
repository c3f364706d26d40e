"""`whence plan`: what a training will need, estimated before it begins."""

from whence.cli.document import strict
from whence.cli.training.recipes import parse_training
from whence.cli.words import wrapped
from whence.errors import WhenceError, in_bytes, in_flops

SCHEMA = 1
FLAGS = ("--on", "--memory", "--seconds")
ABOUT = """usage: whence plan [TEXT ...] [flags of 'whence train']
                   [--on MACHINE] [--memory GB] [--seconds S] [--json]

Tell what a training will take: parameters, operations, memory, time, disk, and what fits.

  --on MACHINE   reckon by the published peaks of another machine: {machines}
  --memory GB    reckon with so much memory instead of what there is
  --seconds S    time real steps for so long (3); 0: don't
  --json         print one JSON object

All flags of 'whence train' say what is planned: 'whence train --help' lists them.
"""


def plan(words: list[str]) -> None:
    """Print what a recipe will need."""
    from whence.scale.machines import MACHINES, machine

    if "-h" in words or "--help" in words:
        print(wrapped(ABOUT.format(machines=", ".join(MACHINES))), end="")
        return
    words, own = _take(words)
    arguments = parse_training(words)
    on = machine(own["--on"]) if "--on" in own else None
    gigabytes = _number("--memory", own.get("--memory"), least=0.001)
    seconds = _number("--seconds", own.get("--seconds", "3"), least=0)
    from whence.runs.planning import plan_run

    memory = None if gigabytes is None else round(gigabytes * 1e9)
    planned = plan_run(arguments.recipe, arguments.recipe.data.open(), on, memory, seconds or 0)
    if arguments.json:
        where = on.name if on else "this machine"
        print(strict({"schema": SCHEMA, "on": where, **planned.to_dict()}))
        return
    for name, text in rows(planned, on.name if on else "this machine").items():
        print(f"{name:<12}{text}")


def rows(planned, on: str) -> dict[str, str]:
    """Write a plan as lines, each with a name and a text."""
    step, recipe = planned.step, planned.recipe
    parts = ", ".join(f"{name} {count:,}" for name, count in planned.parts.items())
    tokens = recipe.steps * planned.tokens_per_step
    times = tokens / max(1, planned.text_tokens)
    found = {
        "parameters": f"{planned.n_parameters:,}: {parts}",
        "a step": f"{planned.tokens_per_step:,} tokens, {in_flops(step.flops)} in "
        f"{recipe.accumulate} part{'s' * (recipe.accumulate > 1)}, {recipe.hardware.precision}",
        "memory": f"{in_bytes(planned.memory)} at its peak: Python and PyTorch "
        f"{in_bytes(planned.process)}, weights {in_bytes(step.weights)}, optimizer "
        f"{in_bytes(step.moments)}, activations and gradients {in_bytes(step.activations)} (in the "
        f"update {in_bytes(step.gradients + step.update)})"
        + (f", gaps and kernels {in_bytes(planned.gaps)} (measured)" if planned.gaps else "")
        + (
            f"; before the first step, counting takes {in_bytes(planned.preparing)}"
            if planned.preparing
            else ""
        )
        + "; "
        f"{in_bytes(planned.checkpoint)} more while a checkpoint is written",
        "tokens": f"{tokens:,} in {recipe.steps:,} steps, {times:.1f} times the text; "
        f"{planned.tokens_per_parameter:.1f} for each parameter (Chinchilla: 20)",
        "time": _time(planned),
        "disk": f"a checkpoint {in_bytes(planned.checkpoint)}, a traced step "
        f"{in_bytes(step.recorded)} of memory",
        "fits": f"in {in_bytes(planned.room)} on {on}: "
        + (
            f"parts of up to {planned.largest_batch:,} windows"
            + (
                f", or a model of about {planned.largest_model:,} parameters"
                if planned.largest_model
                else ""
            )
        ),
    }
    if planned.advice:
        found["too large"] = planned.advice
    return found


def _time(planned) -> str:
    if planned.seconds is None:
        return planned.how
    whole = planned.seconds * planned.recipe.steps
    rate = planned.tokens_per_step / planned.seconds
    return (
        f"{1e3 * planned.seconds:,.3g} ms a step, {_duration(whole)} in all without measurements "
        f"({rate:,.0f} tokens/s, {in_flops(planned.step.flops / planned.seconds)}/s; {planned.how})"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _take(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take the flags of a plan out of the words."""
    rest: list[str] = []
    found: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if flag not in FLAGS:
            rest.append(word)
            continue
        value = value if equals else next(waiting, "")
        if not value:
            raise WhenceError(f"{flag} needs a value: 'whence plan --help' says which.")
        found[flag] = value
    return rest, found


def _number(flag: str, text: str | None, least: float) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 1e9:
        raise WhenceError(f"{flag} is {text!r}: give a number of at least {least:g}.")
    return value
