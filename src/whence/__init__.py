"""Whence: train models with one loop, and ask of any number in any step where it came from.

Names are imported when they are first used, so that `from whence import Value` needs no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from whence.api import Run
    from whence.data import open_source
    from whence.errors import WhenceError
    from whence.models import GPT, GPTConfig, gpt2, llama, modern, qwen3
    from whence.runs.listing import list_runs
    from whence.runs.recipe import Data, Recipe, Record
    from whence.scalar import Value
    from whence.scale.hardware import Hardware
    from whence.train.evaluation import Evaluation
    from whence.train.optimizers import SGD, AdamW, Muon
    from whence.train.schedules import Schedule
    from whence.watch import watch

_HOMES = {
    "AdamW": "whence.train.optimizers",
    "Data": "whence.runs.recipe",
    "Evaluation": "whence.train.evaluation",
    "GPT": "whence.models",
    "GPTConfig": "whence.models",
    "Hardware": "whence.scale.hardware",
    "Muon": "whence.train.optimizers",
    "Recipe": "whence.runs.recipe",
    "Record": "whence.runs.recipe",
    "Run": "whence.api",
    "SGD": "whence.train.optimizers",
    "Schedule": "whence.train.schedules",
    "Value": "whence.scalar",
    "WhenceError": "whence.errors",
    "gpt2": "whence.models",
    "list_runs": "whence.runs.listing",
    "llama": "whence.models",
    "modern": "whence.models",
    "open_source": "whence.data",
    "qwen3": "whence.models",
    "watch": "whence.watch",
}

__all__ = [
    "GPT",
    "SGD",
    "AdamW",
    "Data",
    "Evaluation",
    "GPTConfig",
    "Hardware",
    "Muon",
    "Recipe",
    "Record",
    "Run",
    "Schedule",
    "Value",
    "WhenceError",
    "gpt2",
    "list_runs",
    "llama",
    "modern",
    "open_source",
    "qwen3",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
