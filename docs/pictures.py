"""Make the README's pictures from real runs.

`python docs/pictures.py [words of whence train]` for the terminal, `python docs/pictures.py studio`
for the studio's views, `python docs/pictures.py doctor` for what faults look like.
"""

import io
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from whence.cli.training.display import Display
from whence.cli.training.recipes import parse_training
from whence.runs.run import Run

IMAGES = Path(__file__).parent / "images"


def main(words: list[str]) -> None:
    """Train by the words and save what the terminal shows."""
    arguments = parse_training(words)
    console = Console(
        record=True, width=118, force_terminal=True, highlight=False, file=io.StringIO()
    )
    run = Run.create(arguments.recipe, Path(tempfile.mkdtemp()) / "topics-1")
    run.path, shown = run.path, Path("runs") / "topics-1"
    display = Display(run, console)
    display.progress.disable = True  # the live line is overwritten all the time
    with display:
        for event in run.train():
            display.show(event)
    display.close()
    # The picture shows the folder that a person's run would have.
    svg = console.export_svg(title="whence train")
    IMAGES.mkdir(exist_ok=True)
    svg = svg.replace(str(run.path), str(shown))
    (IMAGES / "train.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if sys.argv[1:2] == ["studio"]:
        from docs.studio_pictures import main as take_studio

        take_studio(sys.argv[2:])
    elif sys.argv[1:2] == ["doctor"]:
        from docs.doctor_pictures import main as draw_faults

        draw_faults(sys.argv[2:])
    else:
        main(sys.argv[1:])
