"""`whence studio`: see, train and open runs in a page of this machine."""

import webbrowser
from pathlib import Path

from whence.errors import WhenceError


def studio(*, runs: Path = Path("runs"), port: int | None = None, browser: bool = True) -> None:
    """Serve the studio, a page to watch, train and open runs in, until Ctrl-C.

    It listens on this machine alone, and asks for the token that stands in the address. What was
    started from the page trains on when the page or the studio is closed.

    Args:
        runs: the folder of runs.
        port: where to listen; none: 8421, or a free one.
        browser: open the address in a browser; --no-browser only prints it.
    """
    if runs.exists() and not runs.is_dir():
        raise WhenceError(f"{runs} is no folder: name one with --runs.")
    from whence.studio.server import serve

    def ready(address: str) -> None:
        print(f"the studio is at  {address}\nCtrl-C ends it; trainings go on", flush=True)
        if browser:
            webbrowser.open(address)

    serve(runs, port, ready)
