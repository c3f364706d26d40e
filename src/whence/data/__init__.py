"""From text to batches.

sources (where text comes from) → tokenizers (text to ids) → shards (ids on disk, split) →
batches (windows of ids, in the order of permutation). floors says what a model must beat.
"""

from whence.data.batches import Part, WindowBatches
from whence.data.floors import Floor, floors
from whence.data.permutation import hash64, permute
from whence.data.shards import Dataset, open_dataset, prepare
from whence.data.sources import Source, open_source, text_source
from whence.data.tokenizers import KINDS, Tokenizer, load_tokenizer, train_tokenizer

__all__ = [
    "KINDS",
    "Dataset",
    "Floor",
    "Part",
    "Source",
    "Tokenizer",
    "WindowBatches",
    "floors",
    "hash64",
    "load_tokenizer",
    "open_dataset",
    "open_source",
    "permute",
    "prepare",
    "text_source",
    "train_tokenizer",
]
