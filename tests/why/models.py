"""Small models for the tests, and one training step of each."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCAB, B, T = 31, 2, 8


class Attention(nn.Module):
    def __init__(self, d: int, heads: int, fused: bool):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.q, self.k = nn.Linear(d, d), nn.Linear(d, d)
        self.v, self.o = nn.Linear(d, d), nn.Linear(d, d)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            masked = scores.masked_fill(future, -math.inf)
            weights = masked.softmax(-1)
            y = weights @ v
        return self.o(y.transpose(1, 2).flatten(2))


class Feed(nn.Module):
    def __init__(self, d: int):
        super().__init__()
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, d: int, heads: int, fused: bool, dropout: float):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(d), Attention(d, heads, fused)
        self.norm2, self.mlp = nn.LayerNorm(d), Feed(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.dropout(self.attn(self.norm1(x)))
        return h + self.dropout(self.mlp(self.norm2(h)))


class GPT(nn.Module):
    def __init__(self, fused: bool = False, tied: bool = False, dropout: float = 0.0):
        super().__init__()
        d = 16
        self.embed, self.positions = nn.Embedding(VOCAB, d), nn.Embedding(T, d)
        self.blocks = nn.ModuleList([Block(d, 2, fused, dropout) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, VOCAB, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 12)
        self.rnn = kind(12, 10, batch_first=True, **options)
        self.head = nn.Linear(20 if options.get("bidirectional") else 10, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens))[0])


def transformer(name: str) -> nn.Module:
    """A tiny GPT-2, Llama or Qwen3 of transformers, with random weights."""
    import transformers

    shape = {
        "vocab_size": VOCAB,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attn_implementation": "sdpa",
    }
    if name == "gpt2":
        config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=T, **shape)
        return transformers.GPT2LMHeadModel(config)
    shape |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "intermediate_size": 24}  # fmt: skip
    if name == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(head_dim=8, **shape))


def text(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens [B, T] and the ones that follow them."""
    drawn = torch.randint(0, VOCAB, (B, T + 1), generator=torch.Generator().manual_seed(seed))
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def adamw(model: nn.Module, **options: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, **options)


def stepper(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    bf16: bool = False,
    clip: float = 0.0,
    parts: int = 1,
) -> Callable[[], Tensor]:
    """One training step as a function without arguments."""
    tokens, targets = text()

    def step() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros(())
        for part in range(parts):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = model(tokens.roll(part, 0))
                logits = logits if isinstance(logits, Tensor) else logits.logits
                loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()) / parts
            loss.backward()
            total = total + loss.detach()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return total

    return step
