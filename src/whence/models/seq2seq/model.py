"""The encoder–decoder Transformer of 2017: one text in, another out.

What it adds to the encoder: a decoder that writes, whose tokens read the ones before them and,
through cross-attention, all of the source.
"""

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models.layers.feed_forward import MLP
from whence.models.layers.norms import norm
from whence.models.seq2seq.config import Seq2SeqConfig
from whence.models.seq2seq.encoder import Encoder, Residual, attention, initialise, positions

SURE = 30.0  # a logit that leaves the others no chance


class DecoderBlock(nn.Module):
    """One layer: each token reads those before it, then the source, then works on what it read.

    Args:
        config: the shape.

    Shape:
        x [B, T, D] and the source's vectors [B, S, D] → [B, T, D].

    Example:
        >>> block = DecoderBlock(Seq2SeqConfig(d_model=16, n_heads=2))
        >>> block(torch.zeros(1, 3, 16), torch.zeros(1, 5, 16), None).shape
        torch.Size([1, 3, 16])
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.attn = Residual(config, attention(config, causal=True))
        self.cross = Residual(config, attention(config, causal=False))
        self.mlp = Residual(config, MLP(config.d_model, config.hidden_size, "relu", bias=True))

    def forward(self, x: Tensor, source: Tensor, visible: Tensor | None) -> Tensor:
        """Read back, read the source, work.

        Args:
            x: the target so far, [B, T, D].
            source: the encoder's vectors, [B, S, D].
            visible: [B, S], False for padding; None: all of the source is read.
        """
        x = self.attn(x)
        return self.mlp(self.cross(x, source=source, visible=visible))


class Seq2Seq(nn.Module):
    """A Transformer that writes a target for a source, in one stream: source, tab, target.

    memory = encoder(source);  x = √D·embed(target) + waves;  x = block(x, memory) for each block;
    logits = head(x), the head being the embedding table.

    As a language model of such streams it goes through the same loop and the same sampler as the
    others. Of a source it predicts nothing, but that a tab follows where none has come yet.

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> model = Seq2Seq(Seq2SeqConfig(d_model=32), vocab_size=9)
        >>> model(torch.tensor([[5, 6, 7, 0, 5, 6]])).shape
        torch.Size([1, 6, 9])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017.
    """

    def __init__(self, config: Seq2SeqConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.encoder = Encoder(config, vocab_size)
        self.positions = positions(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layers))
        self.norm = norm(
            "layer" if config.norm_first else "none", config.d_model, bias=True, eps=1e-5
        )
        self.head = nn.Linear(config.d_model, vocab_size, bias=False)
        initialise(self, config)
        self.head.weight = self.encoder.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T]."""
        T = tokens.shape[1]
        places = torch.arange(T, device=tokens.device)
        is_tab = tokens == self.config.separator
        cut = torch.where(is_tab.any(1), is_tab.int().argmax(1), T)  # [B], tokens of the source
        S = max(1, int(cut.max()))
        visible = places[:S] < cut[:, None].clamp(min=1)  # [B, S]; an empty source reads its tab
        memory = self.encode(tokens[:, :S], visible)
        logits = self.head.weight.new_zeros(*tokens.shape, self.vocab_size)
        logits[:, -1, self.config.separator] = SURE * (cut == T)
        first = int(cut.min())
        if first < T:
            # Rows shifted so that each starts with its tab; what lies past the end is not read.
            length = min(T - first, self.config.context_length)
            shifted = (places[:length] + cut[:, None]).clamp(max=T - 1)  # [B, length]
            written = self.decode(tokens.gather(1, shifted), memory, visible)
            offset = places - cut[:, None]  # [B, T], place in the target; below 0 in the source
            back = offset.clamp(0, length - 1).unsqueeze(-1).expand(-1, -1, self.vocab_size)
            written = written.gather(1, back).to(logits.dtype)
            logits = torch.where((offset >= 0).unsqueeze(-1), written, logits)
            # A target that fills the window ends there.
            full = (offset >= self.config.context_length).unsqueeze(-1)
            end = torch.zeros_like(logits[0, 0])
            end[self.config.end] = SURE
            logits = torch.where(full, end, logits)
        return logits

    def encode(self, source: Tensor, visible: Tensor | None = None) -> Tensor:
        """The source's vectors [B, S, D]; visible [B, S] is False for padding."""
        self._check(source.shape[1])
        return self.encoder(source, visible)

    def decode(self, target: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of the target's, which begins with a tab.

        Args:
            target: ids [B, T].
            memory: the source's vectors [B, S, D], as `encode` returns them.
            visible: [B, S], False for padding.

        Raises:
            WhenceError: the target is longer than the window.
        """
        self._check(target.shape[1])
        x = self.config.d_model**0.5 * self.encoder.embed(target)  # [B, T, D]
        x = self.dropout(self.positions(x))
        for block in self.blocks:
            x = block(x, memory, visible)
        return self.head(self.norm(x))

    @property
    def context_length(self) -> int:
        """How many tokens a source and its target have at most, together."""
        return 2 * self.config.context_length

    def _check(self, length: int) -> None:
        if length > self.config.context_length:
            raise WhenceError(
                f"a source or target is {length} tokens long, but the model reads at most "
                f"{self.config.context_length}: shorten it, or train with a larger context_length."
            )
