"""From text to batches.

sources (where text comes from) → tokenizers (text to ids) → cutting and shards (ids on disk, split;
`kept` spares it a second time) →
batches (windows of ids, in the order of permutation). What a model must beat is counted in
`whence.data.baselines`.
"""

from whence.data.batches import Part, WindowBatches
from whence.data.cutting import prepare
from whence.data.permutation import hash64, permute
from whence.data.shards import Dataset, open_dataset
from whence.data.sources import Source, open_source, text_source
from whence.data.tokenizers import KINDS, Tokenizer, load_tokenizer, train_tokenizer

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
