"""Whence: train models with one loop, and ask of any number in any step where it came from.

Names are imported when they are first used, so that `from whence import Value` needs no PyTorch.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from whence.api import Run, rewind
    from whence.data import open_source
    from whence.errors import WhenceError
    from whence.models import GPT, GPTConfig, gpt2_config, llama_config, modern_config, qwen3_config
    from whence.runs.compare import compare
    from whence.runs.fork import fork
    from whence.runs.recipe import Data, Recipe, Record
    from whence.runs.upkeep.listing import list_runs
    from whence.scalar import Value
    from whence.scale.hardware import Hardware
    from whence.train.evaluation import Evaluation
    from whence.train.optimizers import AdamWConfig, MuonConfig, SGDConfig
    from whence.train.schedules import Schedule
    from whence.watch import watch
    from whence.why import trace

_HOMES = {
    "AdamWConfig": "whence.train.optimizers",
    "Data": "whence.runs.recipe",
    "Evaluation": "whence.train.evaluation",
    "GPT": "whence.models",
    "GPTConfig": "whence.models",
    "Hardware": "whence.scale.hardware",
    "MuonConfig": "whence.train.optimizers",
    "Recipe": "whence.runs.recipe",
    "Record": "whence.runs.recipe",
    "Run": "whence.api",
    "SGDConfig": "whence.train.optimizers",
    "Schedule": "whence.train.schedules",
    "Value": "whence.scalar",
    "compare": "whence.runs.compare",
    "fork": "whence.runs.fork",
    "rewind": "whence.api",
    "trace": "whence.why",
    "WhenceError": "whence.errors",
    "gpt2_config": "whence.models",
    "list_runs": "whence.runs.upkeep.listing",
    "llama_config": "whence.models",
    "modern_config": "whence.models",
    "open_source": "whence.data",
    "qwen3_config": "whence.models",
    "watch": "whence.watch",
}

__all__ = [
    "GPT",
    "AdamWConfig",
    "Data",
    "Evaluation",
    "GPTConfig",
    "Hardware",
    "MuonConfig",
    "Recipe",
    "Record",
    "Run",
    "SGDConfig",
    "Schedule",
    "Value",
    "WhenceError",
    "compare",
    "fork",
    "gpt2_config",
    "list_runs",
    "llama_config",
    "modern_config",
    "open_source",
    "qwen3_config",
    "rewind",
    "trace",
    "watch",
]


_OLD = {  # names that looked like PyTorch's classes or like models; they go with 0.3.0
    "AdamW": "AdamWConfig",
    "Muon": "MuonConfig",
    "SGD": "SGDConfig",
    "gpt2": "gpt2_config",
    "llama": "llama_config",
    "modern": "modern_config",
    "qwen3": "qwen3_config",
}


def __getattr__(name: str) -> Any:
    if name in _OLD:
        said = f"whence.{name} is now called {_OLD[name]}; the old name goes with 0.3.0."
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        name = _OLD[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
