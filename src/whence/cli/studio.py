"""`whence studio`: see, train and open runs in a page of this machine."""

import contextlib
import os
import sys
import webbrowser
from pathlib import Path

from whence.errors import WhenceError


def studio(
    *,
    runs: Path = Path("runs"),
    port: int | None = None,
    browser: bool = True,
    allow: tuple[Path, ...] = (),
    model: str | None = None,
) -> None:
    """Serve the studio, a page for watching, training and opening runs, until Ctrl-C.

    It listens on this machine only. The address works once, for one browser; then the next one is
    printed. Training started from the page continues when the page or the studio is closed.

    Args:
        runs: the folder of runs.
        port: where to listen; none: 8421, or a free one.
        browser: open the address in a browser; --no-browser only prints it.
        allow: files and folders that the page may train on, besides the built-in texts and what
            is given to the page itself.
        model: `module:function` that builds the model of loops that were watched, to open their
            stored steps.
    """
    if runs.exists() and not runs.is_dir():
        raise WhenceError(f"{runs} isn't a folder: name one with --runs.")
    if model is not None:
        from whence.studio.answers.place import BUILD

        if not all(model.partition(":")):
            raise WhenceError(f"--model is {model!r}: give module:function, as my_module:build.")
        os.environ[BUILD] = model
    from whence.studio.doors.door import remove_opener, write_opener
    from whence.studio.server import serve

    opened = False

    def ready(address: str) -> None:
        nonlocal opened
        if opened:
            print(f"a page came in; for another browser  {address}", flush=True)
            remove_opener(runs)
            return
        opened = True
        print(f"the studio is at  {address}\nCtrl-C stops it; training continues", flush=True)
        if browser and _has_screen():
            try:
                webbrowser.open(write_opener(runs, address).absolute().as_uri())
            except WhenceError as error:
                print(f"whence: {error}", file=sys.stderr)

    try:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
            serve(runs, port, ready, allow)
    finally:
        remove_opener(runs)


def _has_screen() -> bool:
    """Whether a browser would open in a window, and not in this terminal."""
    wanted = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, wanted))
