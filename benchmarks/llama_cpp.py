"""llama.cpp, built from the source package of llama-cpp-python and kept for the next time."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

VERSION = "0.3.36"
FOLDER = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whence" / f"llama-{VERSION}"
)


def llama_cpp(build: bool) -> tuple[Any, str]:
    """The package, or None and the reason.

    Args:
        build: build it where it isn't there: ten minutes or more, with cmake and a C++ compiler.
    """
    if not FOLDER.is_dir():
        if not build:
            return None, "llama.cpp isn't built: add --llama to build it (ten minutes or more)"
        print(f"building llama.cpp into {FOLDER}: ten minutes or more", flush=True)
        part = FOLDER.with_name(FOLDER.name + ".part")
        words = [f"llama-cpp-python=={VERSION}", "diskcache", "--target", str(part)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return None, f"llama.cpp can't be built: {done.stderr.strip().splitlines()[-1]}"
        part.rename(FOLDER)
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    try:
        return importlib.import_module("llama_cpp"), ""
    except (ImportError, OSError) as error:
        return None, f"llama.cpp can't be loaded: {error}"
