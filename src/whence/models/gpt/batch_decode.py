"""One more token for each of several texts of different lengths: what a server decodes with."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.models.gpt.block import Block
from whence.models.gpt.decode import mlp_step, norm_step, product, qkv_step
from whence.models.gpt.row_decode import NativeStep, is_for
from whence.models.layers.attention import Attention
from whence.models.layers.cache import Cache
from whence.models.layers.positions import Rotation

if TYPE_CHECKING:
    from whence.models.gpt.model import GPT


def seat_bytes(model: "GPT", length: int) -> int:
    """Return what the keys and values of one text take: layers · 2 · heads · length · d bytes.

    Args:
        model: its shape and the type of its weights count.
        length: how many tokens a text may have.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> model = GPT(GPTConfig(), 65)
        >>> seat_bytes(model, 64) == BatchDecoder(model, 3, 64).room.nbytes // 3
        True
    """
    c = model.config
    return c.n_layers * 2 * c.kv_heads * length * c.head_size * model.embed.weight.element_size()


class BatchDecoder:
    """A GPT with a memory of several seats, each of which holds a text of its own length.

    A weight is read from memory once for all texts, which is what a step costs: eight texts take
    little more time than one. What a seat computes is what the model computes for its text alone,
    up to rounding.

    Args:
        model: a GPT with all its parts, in evaluation mode.
        seats: how many texts there is room for.
        length: how many tokens a text may have; None for as many as the model reads.

    Raises:
        WhenceError: where parts of the model were taken out, or a size can't be.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> decoder = BatchDecoder(GPT(GPTConfig(), 65).eval(), seats=2)
        >>> decoder.read({0: [1, 2, 3]}).shape, decoder.step({0: 4}).shape
        (torch.Size([1, 65]), torch.Size([1, 65]))
    """

    def __init__(self, model: "GPT", seats: int, length: int | None = None) -> None:
        c = model.config
        self.length = c.context_length if length is None else length
        if seats < 1 or not 1 <= self.length <= c.context_length:
            raise WhenceError(
                f"a memory of {seats} seats for {self.length:,} tokens each isn't possible: the "
                f"model reads 1 to {c.context_length:,}."
            )
        if c.without or model.bigram is not None:
            raise WhenceError("texts are decoded side by side by whole GPTs without a pair table.")
        self.model, self.seats = model, seats
        weight = model.embed.weight
        shape = (c.n_layers, 2, seats, c.kv_heads, self.length, c.head_size)
        self.room = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.rotation = model.rotation_of(self.length, weight)
        self.lengths = [0] * seats
        self.native: NativeStep | None = None
        if c.attention == "fast" and is_for(model):
            self.native = NativeStep(model, [(k, v) for k, v in self.room], self.rotation)
        self.norm, self.head = norm_step(model.norm), product(model.head)
        self.blocks = [_Block(block) for block in model.blocks if isinstance(block, Block)]

    @torch.inference_mode()
    def read(self, texts: Mapping[int, list[int]]) -> Tensor:
        """Read texts into seats, in place of what those held; logits [n, V] of what comes next.

        They are read at once, padded at their ends, where nothing before them can see it. While
        that lasts their keys and values are there twice.

        Args:
            texts: seat → tokens.

        Raises:
            WhenceError: where one is longer than a seat.
        """
        sizes = [len(text) for text in texts.values()]
        for size in sizes:
            if not 1 <= size <= self.length:
                raise WhenceError(f"a text has {size:,} tokens: a seat holds {self.length:,}.")
        c, device, longest = self.model.config, self.room.device, max(sizes)
        shape = (c.n_layers, len(texts), c.kv_heads, longest, c.head_size)
        cache = Cache(shape, self.rotation, self.room.dtype, device)
        padded = [text + [0] * (longest - len(text)) for text in texts.values()]
        vectors = self.model.vectors(torch.tensor(padded, device=device), cache)
        seats = torch.tensor(list(texts), device=device)
        for room, layer in zip(self.room, cache.layers, strict=True):
            room[0, seats, :, :longest], room[1, seats, :, :longest] = layer.keys, layer.values
        for seat, size in zip(texts, sizes, strict=True):
            self.lengths[seat] = size
        last = torch.tensor(sizes, device=device) - 1
        return self.model.head(vectors[torch.arange(len(texts), device=device), last])

    @torch.inference_mode()
    def step(self, tokens: dict[int, int]) -> Tensor:
        """Read one more token into each of some seats; logits [n, V] in the order of `tokens`.

        Seats below the highest that aren't named are computed along and keep what they hold: their
        place is masked, and overwritten by what is read next.

        Raises:
            WhenceError: where a seat is full.
        """
        if any(self.lengths[seat] >= self.length for seat in tokens):
            raise WhenceError(f"a seat is full: it holds {self.length:,} tokens.")
        if self.native is not None:
            return self._step_natively(tokens, self.native)
        B = 1 + max(tokens)
        device = self.room.device
        ids = torch.tensor([tokens.get(seat, 0) for seat in range(B)], device=device)
        # A seat that isn't named writes behind what it holds, or over its last place if it is full.
        at = [min(length, self.length - 1) for length in self.lengths[:B]]
        spare = [s for s in range(B) if s not in tokens and self.lengths[s] >= self.length]
        kept = [self.room[:, :, seat, :, -1].clone() for seat in spare]
        places = torch.tensor(at, device=device)
        end = 1 + max(at)
        seen = torch.arange(end, device=device) <= places[:, None]  # [B, end]
        mask = torch.zeros(B, 1, 1, end, dtype=self.room.dtype, device=device)
        mask = mask.masked_fill(~seen[:, None, None], -math.inf)
        x = self.model.embed(ids)  # [B, D]
        x = self._positioned(x, at)
        rotation = None if self.rotation is None else _rows(self.rotation, places)
        for block, room in zip(self.blocks, self.room, strict=True):
            x = block(x, rotation, room[:, :B], places, mask)
        for seat, values in zip(spare, kept, strict=True):
            self.room[:, :, seat, :, -1] = values
        for seat in tokens:
            self.lengths[seat] += 1
        named = torch.tensor(list(tokens), device=device)
        return self.head(self.norm(x[named]))

    def _step_natively(self, tokens: dict[int, int], native: NativeStep) -> Tensor:
        """Compute with the seats that are named alone."""
        seats = list(tokens)
        places = [self.lengths[seat] for seat in seats]
        x = self._positioned(self.model.embed(torch.tensor([*tokens.values()])), places)
        for seat in seats:
            self.lengths[seat] += 1
        return native(x, seats, places)

    def _positioned(self, x: Tensor, at: list[int]) -> Tensor:
        rows = [self.model.positions(x[i, None, None], place)[0] for i, place in enumerate(at)]
        return torch.cat(rows)


def _rows(rotation: Rotation, places: Tensor) -> Rotation:
    """The rotation of one place a row, [B, 1, d]."""
    part = object.__new__(Rotation)
    part.cos, part.sin = rotation.cos[places][:, None], rotation.sin[places][:, None]
    return part


class _Block:
    """One block for one more token a seat: h = x + attn(norm1(x));  y = h + mlp(norm2(h))."""

    def __init__(self, block: Block) -> None:
        assert isinstance(block.attn, Attention)
        attn = self.attn = block.attn
        self.norm1, self.norm2 = norm_step(block.norm1), norm_step(block.norm2)
        self.qkv, self.o, self.mlp = qkv_step(attn), product(attn.o), mlp_step(block.mlp)

    def __call__(
        self, x: Tensor, rotation: Rotation | None, room: Tensor, places: Tensor, mask: Tensor
    ) -> Tensor:
        """[B, D] → [B, D]; room [2, B, G, C, d] takes the new keys and values."""
        H, G, B, d = self.attn.n_heads, self.attn.n_kv_heads, x.shape[0], room.shape[-1]
        qkv = self.qkv(self.norm1(x)).view(B, H + 2 * G, d)
        q, k, v = qkv.split((H, G, G), dim=1)
        q, k = self.attn.q_norm(q), self.attn.k_norm(k)
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        rows = torch.arange(B, device=x.device)
        room[0, rows, :, places], room[1, rows, :, places] = k, v
        keys, values = room[:, :, :, : mask.shape[-1]]  # [B, G, end, d]
        scores = q.unflatten(1, (G, H // G)) @ keys.mT / math.sqrt(d) + mask  # [B, G, H/G, end]
        read = (scores.softmax(-1) @ values).flatten(1)  # [B, H·d]
        h = x + self.o(read)
        return h + self.mlp(self.norm2(h))
