"""`whence verify`: a certificate that a run is what its record says."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.runs.run import Run
from whence.runs.upkeep.repair import repair as repair_run


def verify(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    steps: int | None = None,
    repair: bool = False,
    json: bool = False,
) -> int:
    """Replay a run and compare every loss and checkpoint with the record, bit by bit.

    The exit code is 0 if everything is equal, 1 if something differs.

    Args:
        run: the run's folder.
        steps: replay a sample of at least this many steps, spread over the run; none: all of them.
        repair: set aside what is damaged, so that the rest can be used and resumed.
        json: print JSON instead of text.
    """
    from whence.runs.upkeep.verify import verify as verify_run

    opened = Run.open(run)
    if repair:
        told = repair_run(opened)
        if json:
            print(strict({"schema": 1, "run": str(run), "put_aside": told}))
        else:
            print("\n".join(told) if told else f"nothing in {run} is damaged.")
        return 0
    console = Console(soft_wrap=True)
    with Progress(console=console, transient=True, disable=json or not console.is_terminal) as bar:
        task = bar.add_task("replaying", total=steps or len(opened.steps))
        result = verify_run(opened, steps, lambda _: bar.advance(task))
    if json:
        head = {"schema": 1, "run": str(run), "exact": result.exact}
        print(strict(head | asdict(result)))
        return 0 if result.exact else 1
    verdict = ("exact", "green") if result.exact else ("not exact", "red")
    console.print(Text.assemble((str(run), "bold"), ": ", verdict))
    console.print(f"  {result.checked:,} of {result.steps:,} steps replayed")
    console.print(f"  {len(result.differences):,} losses differ from the record")
    for difference in result.differences[:5]:
        console.print(
            f"    step {difference.step:,}: {difference.replayed!r}, recorded "
            f"{difference.recorded!r}"
        )
    reached = len(result.states) + len(result.other_states)
    console.print(f"  {len(result.states)} of {reached} checkpoints reached with every bit equal")
    if not result.deterministic:
        console.print("  the run allowed kernels that give other bits each time: approximate")
    for reason in result.reasons:
        console.print(f"  {reason}")
    told = ", ".join(f"{name} {value}" for name, value in result.manifest.items())
    console.print(f"  on {told}", style="dim")
    return 0 if result.exact else 1
