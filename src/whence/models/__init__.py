"""The models, a folder for each family, and the table of their kinds.

What needs no PyTorch (the kinds and their configurations) comes from `kinds`, the classes from
`classes`, each when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.models.classes import *  # noqa: F403  # its __all__, for type checkers
    from whence.models.kinds import *  # noqa: F403  # its __all__, for type checkers


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if not name.startswith("__"):
        for home in ("whence.models.kinds", "whence.models.classes"):
            module = import_module(home)
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'whence.models' has no attribute {name!r}")
