"""The models, one file for each rung of the ladder, and the table of their names."""

from whence.models.config import GPTConfig, gpt2, llama, modern, qwen3
from whence.models.gpt import GPT

ModelConfig = GPTConfig
Model = GPT

# The size that two CPU cores train best in two minutes; every form of the GPT starts from it.
SIZE = {"n_layers": 4, "n_heads": 4, "d_model": 192, "context_length": 256}

MODELS: dict[str, ModelConfig] = {
    "gpt": modern(**SIZE),
    "modern": modern(**SIZE),
    "gpt2": gpt2(**SIZE),
    "llama": llama(**SIZE),
    "qwen3": qwen3(**SIZE),
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
    return GPT(config, vocab_size)
