"""Watch any PyTorch training: record its steps, go back to them, and explain a crash.

`whence.watch(model, optimizer)` calls `watch`, although `whence.watch` is also this package.
"""

import sys
from types import ModuleType
from typing import Any

from whence.watch.again.past import Past
from whence.watch.again.reopen import open_crash, open_step
from whence.watch.recorder import Recorder
from whence.watch.rows import Rows
from whence.watch.watching import watch

__all__ = ["Past", "Recorder", "Rows", "open_crash", "open_step", "watch"]


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Recorder:
        return watch(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
