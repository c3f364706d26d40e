"""The table of kinds of model: one row says all that the rest of the code must know about a kind.

To add a model, write its file and add its row; the command line, the ladder, the studio's form and
the tests read this table. It needs no PyTorch: the class of a model is imported when one is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whence.models.gpt.config import (
    GPTConfig,
    gpt2_config,
    llama_config,
    modern_config,
    qwen3_config,
)
from whence.models.ngram.config import NGramConfig, NGramGPTConfig
from whence.models.recurrent.config import GRUConfig, LSTMConfig, RNNConfig
from whence.models.seq2seq.config import ClassifierConfig, Seq2SeqConfig
from whence.models.small.config import BigramConfig, MLPConfig

ModelConfig = (
    GPTConfig
    | NGramConfig
    | BigramConfig
    | MLPConfig
    | RNNConfig
    | LSTMConfig
    | GRUConfig
    | NGramGPTConfig
    | Seq2SeqConfig
    | ClassifierConfig
)

# The size that two CPU cores train best in two minutes; every form of the GPT starts from it.
SIZE = {"n_layers": 4, "n_heads": 4, "d_model": 192, "context_length": 256}


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        config: its usual shape.
        model: where its class is, as `module:Class`; it takes a config and a vocabulary's size.
        about: what it is, in a few words.
        task: what it is trained to do, a name in `whence.runs.tasks.TASKS`.
        usual: what its recipe sets differently from a GPT's, as nested plain values.
        rungs: its places on the ladder: a name, and the settings that differ there.

    Example:
        >>> KINDS["lstm"].about, KINDS["lstm"].task  # doctest: +ELLIPSIS
        ('...', 'text')
    """

    config: ModelConfig
    model: str
    about: str
    task: str = "text"
    usual: Mapping[str, Any] = field(default_factory=dict)
    rungs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_GPT = "whence.models.gpt.model:GPT"
# What published GPTs learn by: the rates given for them are AdamW's.
_PUBLISHED = {
    "optimizer": {
        "kind": "adamw",
        "learning_rate": 1e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 0.1,
    },
    "schedule": {"kind": "cosine", "warmup": 20, "final": 0.1},
}
_PAPER = {  # as in "Attention Is All You Need"
    "optimizer": {"kind": "adamw", "learning_rate": 2e-3, "betas": [0.9, 0.98], "eps": 1e-9},
    "schedule": {"kind": "inverse-sqrt", "warmup": 100},
    "batch_size": 64,
}
_CLASSES = {  # by words, since a class shows in them
    "data": {"tokenizer": "words", "vocab_size": 5000},
    "optimizer": {"kind": "adamw", "learning_rate": 1e-3},
    "schedule": {"kind": "linear", "warmup": 20},
    "batch_size": 32,
    "steps": 300,
}

KINDS: dict[str, Kind] = {
    "gpt": Kind(
        modern_config(**SIZE),
        _GPT,
        "Transformer, the form that learns fastest here",
        rungs={"gpt": {}},
    ),
    "modern": Kind(modern_config(**SIZE), _GPT, "the same as gpt"),
    "gpt2": Kind(gpt2_config(**SIZE), _GPT, "Transformer as in GPT-2", usual=_PUBLISHED),
    "llama": Kind(llama_config(**SIZE), _GPT, "Transformer as in Llama", usual=_PUBLISHED),
    "qwen3": Kind(qwen3_config(**SIZE), _GPT, "Transformer as in Qwen3", usual=_PUBLISHED),
    "ngram": Kind(
        NGramConfig(),
        "whence.models.ngram.model:NGram",
        "counts what follows the last tokens, in one pass",
        task="counted",
        usual={"steps": 1, "batch_size": 1},  # it reads the whole text once
        rungs={
            "unigram": {"order": 1},
            "2-gram": {"order": 2},
            "3-gram": {"order": 3},
            "5-gram": {"order": 5},
        },
    ),
    "bigram": Kind(
        BigramConfig(),
        "whence.models.small.bigram:Bigram",
        "sees one token back",
        rungs={"bigram": {}},
    ),
    "mlp": Kind(
        MLPConfig(),
        "whence.models.small.charmlp:CharMLP",
        "sees a few tokens back",
        rungs={"mlp": {}},
    ),
    "rnn": Kind(
        RNNConfig(),
        "whence.models.recurrent.rnn:RNN",
        "reads token by token",
        rungs={"rnn": {}},
    ),
    "lstm": Kind(
        LSTMConfig(),
        "whence.models.recurrent.lstm:LSTM",
        "reads token by token, with a memory",
        rungs={"lstm": {}},
    ),
    "gru": Kind(
        GRUConfig(),
        "whence.models.recurrent.gru:GRU",
        "as the LSTM, with fewer gates",
        rungs={"gru": {}},
    ),
    "ngram-gpt": Kind(
        NGramGPTConfig(n_layers=1, n_heads=4, d_model=128, context_length=64),
        "whence.models.ngram.prior:NGramGPT",
        "Transformer that corrects counted n-grams",
        task="on counts",
        rungs={"ngram-gpt": {}},
    ),
    "seq2seq": Kind(
        Seq2SeqConfig(),
        "whence.models.seq2seq.model:Seq2Seq",
        "encoder–decoder, for pairs: source, tab, target",
        task="pairs",
        usual=_PAPER,
    ),
    "encoder": Kind(
        ClassifierConfig(),
        "whence.models.seq2seq.encoder:Classifier",
        "encoder, for texts with labels: label, tab, text",
        task="labels",
        usual=_CLASSES,
    ),
}

MODELS: dict[str, ModelConfig] = {name: kind.config for name, kind in KINDS.items()}


def kind_for(config: ModelConfig) -> Kind:
    """Return the first row whose configuration is of this one's type.

    Example:
        >>> kind_for(LSTMConfig(d_model=8)).about
        'reads token by token, with a memory'
    """
    return next(kind for kind in KINDS.values() if type(kind.config) is type(config))
