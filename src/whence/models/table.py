"""The models, one file for each rung of the ladder, and the table of their names."""

from collections.abc import Callable
from typing import Any

from whence.models.bigram import Bigram, BigramConfig
from whence.models.charmlp import CharMLP, MLPConfig
from whence.models.config import GPTConfig, gpt2, llama, modern, qwen3
from whence.models.encoder import Classifier, ClassifierConfig
from whence.models.gpt import GPT
from whence.models.gru import GRU, GRUConfig
from whence.models.lstm import LSTM, LSTMConfig
from whence.models.ngram import NGram
from whence.models.ngram_config import NGramConfig
from whence.models.ngram_gpt import NGramGPT, NGramGPTConfig
from whence.models.rnn import RNN, RNNConfig
from whence.models.seq2seq import Seq2Seq, Seq2SeqConfig

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
Model = GPT | NGramGPT | NGram | Bigram | CharMLP | RNN | LSTM | GRU | Seq2Seq | Classifier

# The size that two CPU cores train best in two minutes; every form of the GPT starts from it.
SIZE = {"n_layers": 4, "n_heads": 4, "d_model": 192, "context_length": 256}

MODELS: dict[str, ModelConfig] = {
    "gpt": modern(**SIZE),
    "modern": modern(**SIZE),
    "gpt2": gpt2(**SIZE),
    "llama": llama(**SIZE),
    "qwen3": qwen3(**SIZE),
    "ngram": NGramConfig(),
    "bigram": BigramConfig(),
    "mlp": MLPConfig(),
    "rnn": RNNConfig(),
    "lstm": LSTMConfig(),
    "gru": GRUConfig(),
    "ngram-gpt": NGramGPTConfig(n_layers=1, n_heads=4, d_model=128, context_length=64),
    "seq2seq": Seq2SeqConfig(),
    "encoder": ClassifierConfig(),
}

# The model that each kind of configuration describes.
_MODELS: dict[type, Callable[[Any, int], Model]] = {
    GPTConfig: GPT,
    NGramConfig: NGram,
    BigramConfig: Bigram,
    MLPConfig: CharMLP,
    RNNConfig: RNN,
    LSTMConfig: LSTM,
    GRUConfig: GRU,
    NGramGPTConfig: NGramGPT,
    Seq2SeqConfig: Seq2Seq,
    ClassifierConfig: Classifier,
}


def build(config: ModelConfig, vocab_size: int) -> Model:
    """Make the model that a configuration describes, its weights drawn anew.

    Args:
        config: one of the values of `MODELS`, or a changed one.
        vocab_size: how many tokens there are.

    Example:
        >>> build(MODELS["gpt2"], vocab_size=65).vocab_size
        65
    """
    return _MODELS[type(config)](config, vocab_size)
