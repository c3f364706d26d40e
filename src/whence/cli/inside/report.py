"""`whence report`: a run as one HTML file to send to anyone."""

from pathlib import Path

import tyro

from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.watched import is_watched


def report(
    run: tyro.conf.Positional[Path], *, html: Path, prompt: str = "", step: int | None = None
) -> None:
    """Write a run's curves, samples, predictions, flow and receipts as one HTML file.

    The file opens in any browser and needs neither a network nor Whence.

    Args:
        run: the folder of the run.
        html: the file to write.
        prompt: what the prediction table continues; none: the text's beginning.
        step: the step whose flow and receipts are shown; none: the last one.
    """
    from whence.studio.report import report as page

    if not html.parent.is_dir():
        raise WhenceError(f"{html} can't be written: there is no folder {html.parent}.")
    made = page(run if is_watched(run) else Run.open(run), prompt, step)
    try:
        size = made.save(html)
    except OSError as error:
        raise WhenceError(f"{html} can't be written: {error.strerror or error}.") from None
    said = ", ".join(each.view for each in made.shown)
    Console(soft_wrap=True).print(f"report: {html}, {size / 1000:,.0f} kB: {said}")
