"""From text to batches.

sources (where text comes from) → tokenizers (text to ids) → cutting and shards (ids on disk, split;
`kept` spares it a second time) →
batches (windows of ids, in the order of permutation). What a model must beat is counted in
`whence.data.baselines`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.data.batches import Part, WindowBatches
    from whence.data.permutation import hash64, permute
    from whence.data.texts.cutting import prepare
    from whence.data.texts.shards import Dataset, open_dataset
    from whence.data.texts.sources import Source, open_source, text_source
    from whence.data.tokenizers import KINDS, Tokenizer, load_tokenizer, train_tokenizer

# Names are imported when they are first used: a list of runs needs no NumPy and no tokenizers.
_HOMES = {
    "KINDS": "tokenizers",
    "Dataset": "texts.shards",
    "Part": "batches",
    "Source": "texts.sources",
    "Tokenizer": "tokenizers",
    "WindowBatches": "batches",
    "hash64": "permutation",
    "load_tokenizer": "tokenizers",
    "open_dataset": "texts.shards",
    "open_source": "texts.sources",
    "permute": "permutation",
    "prepare": "texts.cutting",
    "text_source": "texts.sources",
    "train_tokenizer": "tokenizers",
}

__all__ = [
    "KINDS",
    "Dataset",
    "Part",
    "Source",
    "Tokenizer",
    "WindowBatches",
    "hash64",
    "load_tokenizer",
    "open_dataset",
    "open_source",
    "permute",
    "prepare",
    "text_source",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whence.data' has no attribute {name!r}")
    return getattr(import_module(f"whence.data.{_HOMES[name]}"), name)
