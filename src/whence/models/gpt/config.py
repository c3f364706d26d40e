"""Everything that decides the shape of a GPT, and the named forms of it."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from whence.errors import WhenceError
from whence.fields import check_fields
from whence.models.layers.names import GATED, Activation, NormKind
from whence.models.layers.rope_scaling import RopeScaling


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. Every published form is a setting of the same code.

    Attributes:
        n_layers: number of blocks.
        n_heads: attention heads in each block.
        d_model: length of a token's vector.
        context_length: how many tokens the model reads at most.
        n_kv_heads: keys and values shared between heads; None for one each.
        d_head: length of a head's vectors; None for d_model / n_heads.
        d_ff: hidden units of the feed-forward part; None for 4·d_model, or for a gated one
            8/3·d_model rounded up to a multiple of 32.
        positions: rotary, learned, sinusoidal or none.
        rope_base: the base of the rotary angles.
        rope_scaling: how the rotary speeds are lowered for longer texts.
        norm: rms, layer or none.
        norm_weight: norms have a weight (False: free of parameters).
        norm_eps: the norms' eps.
        activation: of the feed-forward part; swiglu and geglu are the gated ones.
        bias: biases in the feed-forward part, attention's output and LayerNorm.
        qkv_bias: biases of queries, keys and values.
        out_bias: a bias of attention's output, where it isn't as `bias` says.
        qk_norm: norm of queries and keys.
        tied_embeddings: the head is the embedding table.
        dropout: share of activations set to 0 in training.
        bigram_embedding: a table for the previous pair of tokens is added to the embedding.
        zero_head: the head starts at 0, so that the first guess is uniform.
        zero_residual: the last matrix of attention and feed-forward starts at 0, so that each
            block starts as the identity.
        embedding_std: standard deviation of the embedding table at the start.
        init_std: that of the matrices; None for 1/√inputs.
        causal: a token sees those before it only (False: an encoder).
        attention: formula for the textbook's, fast for its twin.
        without: parts that an experiment takes out of every block.

    Raises:
        WhenceError: a size that can't be, with the nearest that can.

    Example:
        >>> GPTConfig(n_layers=2, d_model=64).head_size
        16
    """

    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 128
    context_length: int = 64
    n_kv_heads: int | None = None
    d_head: int | None = None
    d_ff: int | None = None
    positions: Literal["rotary", "learned", "sinusoidal", "none"] = "rotary"
    rope_base: float = 10000.0
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    norm: NormKind = "rms"
    norm_weight: bool = False
    norm_eps: float = 1e-5
    activation: Activation = "relu2"
    bias: bool = False
    qkv_bias: bool = False
    out_bias: bool | None = None
    qk_norm: bool = False
    tied_embeddings: bool = False
    dropout: float = 0.0
    bigram_embedding: bool = False
    zero_head: bool = True
    zero_residual: bool = False
    embedding_std: float = 0.02
    init_std: float | None = 0.02
    causal: bool = True
    attention: Literal["formula", "fast"] = "fast"
    without: tuple[Literal["residual", "attention", "feed_forward"], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        for name in ("n_layers", "n_heads", "d_model", "context_length", *self._given_sizes()):
            if getattr(self, name) < 1:
                raise WhenceError(f"{name} is {getattr(self, name)}: it must be 1 or more.")
        if self.d_head is None and self.d_model % self.n_heads:
            raise WhenceError(
                f"d_model = {self.d_model} can't be divided among n_heads = {self.n_heads}: use "
                f"d_model = {_nearest_multiple(self.d_model, self.n_heads)} or n_heads = "
                f"{_nearest_divisor(self.d_model, self.n_heads)}, or set d_head."
            )
        if self.n_heads % self.kv_heads:
            raise WhenceError(
                f"n_heads = {self.n_heads} can't share n_kv_heads = {self.kv_heads} evenly: use "
                f"n_kv_heads = {_nearest_divisor(self.n_heads, self.kv_heads)}."
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise WhenceError(
                f"rotary positions turn pairs of features, but a head has {self.head_size}: "
                f"set d_head = {self.head_size + 1} or other positions."
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise WhenceError(
                f"sinusoidal positions come in pairs, but d_model is {self.d_model}: "
                f"use d_model = {self.d_model + 1} or other positions."
            )
        if not 0 <= self.dropout < 1:
            raise WhenceError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")
        if not (self.rope_base > 0 and self.norm_eps >= 0 and self.embedding_std >= 0):
            raise WhenceError(
                f"rope_base = {self.rope_base}, norm_eps = {self.norm_eps} and embedding_std = "
                f"{self.embedding_std} must not be negative, rope_base not 0 either."
            )
        if self.tied_embeddings and self.zero_head:
            raise WhenceError(
                "tied_embeddings makes the head the embedding table, so zero_head would blank "
                "both: set one of them to false."
            )
        if "residual" in self.without and len(self.without) > 1:
            raise WhenceError(
                f"without = {list(self.without)} leaves nothing of a block's input: take out the "
                "residual alone, or keep it."
            )

    def _given_sizes(self) -> list[str]:
        names = ("n_kv_heads", "d_head", "d_ff")
        return [name for name in names if getattr(self, name) is not None]

    @property
    def kv_heads(self) -> int:
        """Number of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_size(self) -> int:
        """Length of a head's vectors."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def has_out_bias(self) -> bool:
        """Whether attention's output has a bias."""
        return self.bias if self.out_bias is None else self.out_bias

    @property
    def hidden_size(self) -> int:
        """Hidden units of the feed-forward part."""
        if self.d_ff is not None:
            return self.d_ff
        if self.activation in GATED:
            return math.ceil(self.d_model * 8 / 3 / 32) * 32
        return 4 * self.d_model


def _nearest_multiple(size: int, of: int) -> int:
    return max(of, round(size / of) * of)


def _nearest_divisor(size: int, to: int) -> int:
    # Each divisor up to the root has its other half: a file of others may give billions as a size.
    low = [d for d in range(1, math.isqrt(size) + 1) if size % d == 0]
    return min((*low, *(size // d for d in low)), key=lambda d: (abs(d - to), d))


def modern_config(**settings: Any) -> GPTConfig:
    """The form that learns fastest here: rotary, parameter-free norm, ReLU², head starting at 0.

    It is what GPTConfig() gives.

    Args:
        **settings: fields of GPTConfig to set otherwise.

    Example:
        >>> modern_config(n_layers=2).positions
        'rotary'
    """
    return GPTConfig(**settings)


def gpt2_config(**settings: Any) -> GPTConfig:
    """The layout of GPT-2: learned positions, LayerNorm, GELU, biases, tied embeddings.

    Args:
        **settings: fields of GPTConfig to set otherwise.

    Example:
        >>> gpt2_config().norm
        'layer'

    Source:
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """
    form: dict[str, Any] = {
        "positions": "learned",
        "norm": "layer",
        "norm_weight": True,
        "activation": "gelu_tanh",
        "bias": True,
        "qkv_bias": True,
        "tied_embeddings": True,
        "zero_head": False,
    }
    return GPTConfig(**{**form, **settings})


def llama_config(**settings: Any) -> GPTConfig:
    """The layout of Llama: rotary, RMSNorm with a weight, SwiGLU, no biases.

    Args:
        **settings: fields of GPTConfig to set otherwise.

    Example:
        >>> llama_config(n_kv_heads=2).activation
        'swiglu'

    Source:
        Touvron et al., "LLaMA", 2023.
    """
    form: dict[str, Any] = {
        "norm_weight": True,
        "norm_eps": 1e-6,
        "activation": "swiglu",
        "zero_head": False,
    }
    return GPTConfig(**{**form, **settings})


def qwen3_config(**settings: Any) -> GPTConfig:
    """The layout of Qwen3: Llama's, with norms of queries and keys and a base of 1,000,000.

    Args:
        **settings: fields of GPTConfig to set otherwise.

    Example:
        >>> qwen3_config(d_head=64).qk_norm
        True

    Source:
        Qwen team, "Qwen3 Technical Report", 2025.
    """
    return llama_config(**{"qk_norm": True, "rope_base": 1e6, **settings})
