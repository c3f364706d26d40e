"""`whence rewind`: the exact state of a run before any of its steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.watched import is_watched

if TYPE_CHECKING:
    from whence.runs.replay import Moment

SHOWN = 3  # windows of the batch


def rewind(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    step: int,
    approximate: bool = False,
    prompt: str | None = None,
    model: str | None = None,
    json: bool = False,
) -> None:
    """Go back to the state before a step, to the bit, and show it.

    The nearest checkpoint before the step is loaded and the steps in between are repeated; each
    loss is compared with the record.

    Args:
        run: the run's folder, such as runs/topics-1.
        step: from 0 to the number of steps done.
        approximate: continue if a loss differs from the record, and say by how much.
        prompt: also continue this text with the model of that step.
        model: of a watched loop: module:function that builds its model.
        json: print JSON instead of text.
    """
    from whence.generate import generate
    from whence.runs.replay import estimate

    if is_watched(run):
        from whence.cli.inside.watched import past_of, show_rewound

        if prompt is not None:
            raise WhenceError(f"{run} is the record of a watched loop: it can't continue a text.")
        show_rewound(run, past_of(run, step, model), json)
        return
    if model is not None:
        raise WhenceError(f"{run} has a recipe that builds its model: leave out --model.")
    opened = Run.open(run)
    steps, seconds = estimate(opened, step)
    if steps and not json:
        print(f"replaying {steps:,} steps, which took {seconds:.1f} s", file=sys.stderr)
    moment = opened.at(step, approximate)
    text = None
    if prompt is not None:
        writer = moment.session.task.writer(moment.model)
        asked = moment.session.task.asked(prompt)
        text = generate(writer, moment.tokenizer, prompt=asked, max_tokens=200, seed=0)[0]
    if json:
        print(strict({"schema": 1, **_record(moment), "text": text}))
        return
    console = Console(soft_wrap=True)
    console.print(Text.assemble((str(run), "bold"), f" before step {moment.step:,}"))
    console.print(f"  {moment.how_far_off()}")
    if moment.recorded is not None:
        record = opened.steps[moment.step]
        console.print(
            f"  loss {moment.recorded!r} ({moment.recorded.hex()}), rate {record['rate']:g}, "
            f"gradient norm {record['grad_norm']:.4g}"
        )
        for _, part in moment.batch:
            for start, row in list(zip(part.starts, part.inputs, strict=True))[:SHOWN]:
                written = moment.tokenizer.decode(row.tolist())
                where = f"  token {start:>9,}  "
                console.print(Text.assemble((where, "dim"), repr(written)))
        more = opened.recipe.batch_size - SHOWN * opened.recipe.accumulate
        if more > 0:
            console.print(f"  and {more} more windows", style="dim")
    if text is not None:
        console.print(f"\n{prompt or ''}{text}")


def _record(moment: Moment) -> dict[str, Any]:
    parts = [] if moment.recorded is None else moment.batch
    return {
        "step": moment.step,
        "loss": moment.recorded,
        "loss_hex": None if moment.recorded is None else moment.recorded.hex(),
        "replayed": moment.replayed,
        "exact": not moment.differences,
        "differences": [vars(difference) for difference in moment.differences],
        "windows": [int(start) for _, part in parts for start in part.starts],
    }
