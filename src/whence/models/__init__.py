"""The models, one file for each rung of the ladder.

The table of their names is imported when it is first used, so that `whence.models.line` and
`whence.models.mlp` need no PyTorch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.models.table import *  # noqa: F403


def __getattr__(name: str) -> Any:
    from importlib import import_module

    table = import_module("whence.models.table")
    if name.startswith("__") or not hasattr(table, name):
        raise AttributeError(f"module 'whence.models' has no attribute {name!r}")
    return getattr(table, name)
