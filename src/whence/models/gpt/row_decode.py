"""A GPT's forward pass for one more token of each text, by native code, for large models."""

import math
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache as once
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from whence.models.gpt.block import Block
from whence.models.layers.attention import Attention
from whence.models.layers.cache import Cache
from whence.models.layers.feed_forward import MLP, GatedMLP
from whence.models.layers.norms import RMSNorm
from whence.models.layers.positions import Rotation
from whence.models.layers.quantized import Linear4, Linear8

if TYPE_CHECKING:
    from whence.models.gpt.model import GPT

LARGE = 30_000_000  # numbers of a model from which the second that numba needs is made up for
MOST = 512  # rows that a thread takes at a time; a few hundred kilobytes are read without a pause
_STORED = (torch.float32, torch.bfloat16)


def is_for(model: "GPT") -> bool:
    """Whether native code decodes with a model: a large one on a CPU, with all its parts.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> is_for(GPT(GPTConfig(), 65))
        False
    """
    return (
        sys.platform != "win32"  # which has no sched_yield
        and sum(p.numel() for p in model.state_dict().values()) >= LARGE
        and model.embed.weight.device.type == "cpu"
        and all(p.dtype in _STORED for p in model.parameters())
        and all(isinstance(block, Block) and _is_plain(block) for block in model.blocks)
    )


def _is_plain(block: Block) -> bool:
    norms = (RMSNorm, nn.LayerNorm, nn.Identity)
    attn, plain = block.attn, isinstance(block.norm1, norms)
    return plain and isinstance(attn, Attention) and isinstance(block.mlp, MLP | GatedMLP)


class RowDecoder:
    """Logits of the token after one more token of one text; equal to the model up to rounding.

    Args:
        model: a GPT for which `is_for` holds.
        cache: its cache, for one text.

    Shape:
        tokens [1, 1] → logits [1, 1, V], in fp32.
    """

    def __init__(self, model: "GPT", cache: Cache) -> None:
        self.model = model
        self.step = NativeStep(model, [(m.keys, m.values) for m in cache.layers], cache.rotation)

    def __call__(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Read the token [1, 1] into the cache; logits [1, 1, V]."""
        model, place = self.model, cache.length
        x = model.embed(tokens)  # [1, 1, D]
        if model.bigram is not None:
            x = x + model.bigram(tokens, cache.last_token)
        logits = self.step(model.positions(x, place)[0], [0], [place])
        for layer in cache.layers:
            layer.length = place + 1
        cache.length, cache.last_token = place + 1, tokens
        return logits[None]


class NativeStep:
    """One more token of some texts, natively, with keys and values that are kept in seats.

    Weights are read as they are stored, in fp32, bf16, 8 or 4 bits; everything else is fp32.

    Args:
        model: a GPT for which `is_for` holds.
        memory: the keys and values of each layer, [seats, G, C, d] each.
        rotation: rotary positions of the C places, or None.

    Shape:
        x [B, D], the embedded tokens → logits [B, V], in fp32.
    """

    def __init__(
        self, model: "GPT", memory: list[tuple[Tensor, Tensor]], rotation: Rotation | None
    ) -> None:
        from whence.models.gpt import row_kernels as native
        from whence.models.gpt.row_step import step

        self.native, self.step, self.rotation = native, step, rotation
        self.kept: list[Any] = [memory]  # what is pointed to
        self.asked: list[Future[None]] = []
        c = self.config = model.config
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        self.matrices = np.zeros((len(blocks) + 1, 8, 7), np.int64)
        self.layers = np.zeros((len(blocks), 8), np.int64)
        for n, (block, rooms) in enumerate(zip(blocks, memory, strict=True)):
            self._describe(n, block, rooms)
        self._matrix(self.matrices[-1, native.HEAD], model.head)
        self.last = np.array(self._norm(model.norm), np.int64)
        keys = memory[0][0]
        self.sizes = (
            *(c.n_heads, c.kv_heads, c.head_size, keys.shape[2]),
            *(int(keys.dtype == torch.bfloat16), int(c.qk_norm), int(rotation is not None)),
        )
        norms = {"none": native.NO_NORM, "rms": native.RMS, "layer": native.LAYER}
        self.kinds = (norms[c.norm], _activation(native, c.activation))
        self.counts = np.zeros(2 * (len(blocks) * native.PHASES + 1), np.int64)
        self.rooms: dict[int, tuple[np.ndarray, ...]] = {}

    def __call__(self, x: Tensor, seats: list[int], places: list[int]) -> Tensor:
        """Read a token of each text into its seat, at its place; logits of the next, [B, V]."""
        texts, d = len(seats), self.config.head_size
        self._settle()
        given, *others = self._room(1 if texts == 1 else math.ceil(texts / 4) * 4)
        given[:texts] = x.float().numpy()
        angles = np.zeros((texts, 2, d), np.float32)
        if self.rotation is not None:
            angles[:, 0], angles[:, 1] = self.rotation.cos[places], self.rotation.sin[places]
        self.counts.fill(0)
        rows = (np.array(seats), np.array(places), angles)
        arguments = (
            *(self.matrices, self.layers, self.last, self.sizes, self.kinds, self.config.norm_eps),
            *(*rows, self.counts, given, *others),
        )
        for _ in range(torch.get_num_threads() - 1):
            self.asked.append(_pool().submit(self._help, arguments))
        self.step(*arguments)
        self._settle()
        return torch.from_numpy(others[-1][:texts].copy())

    def _help(self, arguments: tuple[Any, ...]) -> None:
        self.step(*arguments)  # by a method, so that what is pointed to stays as long

    def _settle(self) -> None:
        """Wait for the threads that help, also for those of a call that was broken off."""
        while self.asked:
            if not self.asked[-1].cancel():  # one that hasn't begun isn't needed
                self.asked[-1].result()
            self.asked.pop()

    def _room(self, rows: int) -> tuple[np.ndarray, ...]:
        """Where x, the queries, keys and values, what heads read, hidden units and logits go."""
        if rows not in self.rooms:
            H, G, d, native = *self.sizes[:3], self.native
            hidden, vocab = self.matrices[0, native.UP, native.ROWS], self.matrices[-1, native.HEAD]
            sizes = (self.config.d_model, (H + 2 * G) * d, H * d, hidden, vocab[native.ROWS])
            self.rooms[rows] = tuple(np.zeros((rows, size), np.float32) for size in sizes)
        return self.rooms[rows]

    def _describe(self, n: int, block: Block, rooms: tuple[Tensor, Tensor]) -> None:
        native, attn, mlp = self.native, block.attn, block.mlp
        assert isinstance(attn, Attention)
        assert isinstance(mlp, MLP | GatedMLP)
        found = {native.Q: attn.q, native.K: attn.k, native.V: attn.v, native.OUT: attn.o}
        found |= {native.UP: mlp.up, native.DOWN: mlp.down}
        if isinstance(mlp, GatedMLP):
            found[native.GATE] = mlp.gate
        for at, linear in found.items():
            self._matrix(self.matrices[n, at], linear)
        row = self.layers[n]
        row[native.NORM1 : native.NORM1_BIAS + 1] = self._norm(block.norm1)
        row[native.NORM2 : native.NORM2_BIAS + 1] = self._norm(block.norm2)
        row[native.Q_NORM], row[native.K_NORM] = (
            self._norm(attn.q_norm)[0],
            self._norm(attn.k_norm)[0],
        )
        for at, room in zip((native.KEYS, native.VALUES), rooms, strict=True):
            assert room.is_contiguous()
            row[at] = room.data_ptr()

    def _norm(self, norm: nn.Module) -> tuple[int, int]:
        """The addresses of a norm's weight and bias."""
        parts = (getattr(norm, name, None) for name in ("weight", "bias"))
        weight, bias = (0 if part is None else self._address(part.float()) for part in parts)
        return weight, bias

    def _matrix(self, row: np.ndarray, layer: nn.Module) -> None:
        """Describe how a layer's matrix is stored."""
        native, scales = self.native, 0
        bias: Any = layer.bias
        if isinstance(layer, nn.Linear):
            kind = native.BF16 if layer.weight.dtype == torch.bfloat16 else native.FP32
            shape, address = layer.weight.shape, self._address(layer.weight)
        elif isinstance(layer, Linear8):
            kind, shape, address = native.INT8, layer.q.shape, self._address(layer.q)
            scales = self._address(layer.scale.float())
        else:
            assert isinstance(layer, Linear4)
            pairs, ranges = layer.by_rows
            kind, shape = native.INT4, (layer.rows, 2 * pairs.shape[1])
            address, scales = self._address(pairs), self._address(ranges)
        row[native.ADDRESS], row[native.KIND], row[native.SCALES] = address, kind, scales
        row[native.ROWS], row[native.COLUMNS] = shape
        row[native.CHUNK] = min(MOST, math.ceil(shape[0] / (4 * torch.get_num_threads())))
        row[native.BIAS] = 0 if bias is None else self._address(bias.float())

    def _address(self, values: Tensor) -> int:
        values = values.detach().contiguous()
        self.kept.append(values)
        return values.data_ptr()


def _activation(native: Any, name: str) -> int:
    return {
        "relu": native.RELU,
        "relu2": native.RELU2,
        "gelu": native.GELU,
        "geglu": native.GELU,
        "gelu_tanh": native.GELU_TANH,
        "silu": native.SILU,
        "swiglu": native.SILU,
    }[name]


@once
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, torch.get_num_threads() - 1), "whence-rows")
