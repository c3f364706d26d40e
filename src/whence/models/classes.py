"""From a configuration to its model."""

from importlib import import_module
from typing import Any

from whence.models.gpt.model import GPT
from whence.models.kinds import ModelConfig, kind_for
from whence.models.ngram.model import NGram
from whence.models.ngram.prior import NGramGPT
from whence.models.recurrent.gru import GRU
from whence.models.recurrent.lstm import LSTM
from whence.models.recurrent.rnn import RNN
from whence.models.seq2seq.encoder import Classifier
from whence.models.seq2seq.model import Seq2Seq
from whence.models.small.bigram import Bigram
from whence.models.small.charmlp import CharMLP

Model = GPT | NGramGPT | NGram | Bigram | CharMLP | RNN | LSTM | GRU | Seq2Seq | Classifier


def build(config: ModelConfig, vocab_size: int) -> Model:
    """Make the model that a configuration describes, with new random weights.

    Args:
        config: one of the values of `MODELS`, or a changed one.
        vocab_size: how many tokens there are.

    Example:
        >>> from whence.models.kinds import MODELS
        >>> build(MODELS["gpt2"], vocab_size=65).vocab_size
        65
    """
    module, _, name = kind_for(config).model.partition(":")
    made: Any = getattr(import_module(module), name)(config, vocab_size)
    return made
