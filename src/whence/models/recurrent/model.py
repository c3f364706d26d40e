"""What RNN, LSTM and GRU share: a state that is carried from token to token.

What they add to the MLP: no limit to how far back they can read, in principle. They differ in one
line, how the new state is made from the old one and the token: rnn.py, lstm.py, gru.py.
"""

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from whence.models.layers.feed_forward import init_linear
from whence.models.recurrent.config import RecurrentConfig

NO_LIMIT = 1 << 40
State = tuple[Tensor, ...]  # h, or h and c, each [B, D]


class Layer(nn.Module):
    """One recurrent layer: its weights, the loop over the tokens, and the fused form of the loop.

    A child says `n_gates` (how many vectors of length D are made of each token), `n_states`, the
    formula `step`, and `fused`.

    Args:
        d_model: D.
        form: `formula` runs the loop over the tokens in Python, `fast` by one call of torch.

    Shape:
        x [B, T, D] and a state → y [B, T, D], the state after each token, and the last state.

    Example:
        >>> from whence.models.recurrent.rnn import RNNLayer
        >>> layer: Layer = RNNLayer(4, "formula")
        >>> y, (last,) = layer(torch.zeros(2, 3, 4), (torch.zeros(2, 4),))
        >>> y.shape, torch.equal(y[:, -1], last)
        (torch.Size([2, 3, 4]), True)
    """

    n_gates: int
    n_states: int

    def __init__(self, d_model: int, form: Literal["formula", "fast"]) -> None:
        super().__init__()
        self.form = form
        self.read = nn.Linear(d_model, self.n_gates * d_model)  # of the token
        self.recall = nn.Linear(d_model, self.n_gates * d_model)  # of the state before
        for weight in self.parameters():
            nn.init.uniform_(weight, -1 / math.sqrt(d_model), 1 / math.sqrt(d_model))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read the tokens one after another.

        Args:
            x: what it reads, [B, T, D].
            state: before the first token, `n_states` tensors [B, D].

        Returns:
            The state after each token, [B, T, D], and all of the last state.
        """
        if self.form == "fast":
            # The fused kernels compute in the weights' precision, whatever autocast is set to.
            with torch.autocast(x.device.type, enabled=False):
                wide = tuple(h.to(self.read.weight.dtype) for h in (x, *state))
                return self.fused(wide[0], wide[1:])
        ys = []
        for token in self.read(x).unbind(1):  # T times [B, G·D]
            state = self.step(token, state)
            ys.append(state[0])
        return torch.stack(ys, dim=1), state

    @abstractmethod
    def step(self, token: Tensor, state: State) -> State:
        """The formula: the state after a token, whose W·x + b is given, [B, G·D]."""

    @abstractmethod
    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps by one call of torch.

        Args:
            x: what it reads, [B, T, D].
            state: before the first token, `n_states` tensors [B, D].

        Returns:
            As `forward`.
        """

    def weights(self) -> list[Tensor]:
        """The weights in the order that torch's fused functions want."""
        return [self.read.weight, self.recall.weight, self.read.bias, self.recall.bias]


class CarriedState:
    """The memory of a recurrent model that generates: the state of each layer.

    Attributes:
        states: for each layer, h (and c), each [B, D].
        length: how many tokens were read.

    hₜ = f(hₜ₋₁, xₜ) needs no token before t − 1, so this is all that writing has to keep.

    Example:
        >>> import torch
        >>> CarriedState([(torch.zeros(1, 8),)]).length
        0
    """

    def __init__(self, states: list[State]) -> None:
        self.states = states
        self.length = 0


class Recurrent(nn.Module):
    """Logits of the next token from a state that has read all tokens before.

    x = embed(tokens);  x = layer(x) for each layer;  logits = head(x).

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.
        layer: which recurrence.

    Shape:
        tokens [B, T] → logits [B, T, V], T of any length.

    Example:
        >>> from whence.models.recurrent.config import GRUConfig
        >>> from whence.models.recurrent.gru import GRULayer
        >>> model = Recurrent(GRUConfig(d_model=8), 5, GRULayer)
        >>> model(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 5])
    """

    def __init__(self, config: RecurrentConfig, vocab_size: int, layer: type[Layer]) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embed = nn.Embedding(vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            layer(config.d_model, config.form) for _ in range(config.n_layers)
        )
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.head = nn.Linear(config.d_model, vocab_size)
        init_linear(self.head, 0.0)  # the first guess is uniform

    def forward(self, tokens: Tensor, cache: CarriedState | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T].

        Args:
            tokens: ids below vocab_size.
            cache: the state after what was read before; it is moved on.
        """
        carried = self.new_cache(len(tokens)) if cache is None else cache
        x = self.embed(tokens)  # [B, T, D]
        for i, layer in enumerate(self.layers):
            x, carried.states[i] = layer(self.dropout(x), carried.states[i])
        carried.length += tokens.shape[1]
        return self.head(self.dropout(x))  # [B, T, V]

    def new_cache(self, batch_size: int, room: int | None = None) -> CarriedState:
        """The state before the first token, all 0, for `batch_size` texts; it needs no `room`."""
        zero = self.embed.weight.new_zeros(batch_size, self.config.d_model)
        states = [(zero,) * layer.n_states for layer in self._layers()]
        return CarriedState(states)

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most: its state is carried on without end."""
        return NO_LIMIT

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]
