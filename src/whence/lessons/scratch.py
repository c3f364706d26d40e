"""A folder for a lesson's runs, gone when Python ends."""

import atexit
import shutil
import tempfile
from pathlib import Path


def scratch() -> Path:
    """Make an empty folder that is removed when Python ends.

    Example:
        >>> list(scratch().iterdir())
        []
    """
    folder = tempfile.mkdtemp(prefix="whence-lesson-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
