"""A small GPT, one definition for two engines, as `whence.models.small.mlp` is.

What it adds to the MLP: tokens, positions, and heads by which a token reads those before it. One
layer, written token by token, so that every number can be followed on `whence.scalar.Matrix`; on
torch tensors the same lines run.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from whence.errors import WhenceError


def norm(x: Any) -> Any:
    """Return each row divided by the root of its mean square (RMS norm, no weights)."""
    return x * ((x * x).sum(1, keepdim=True) / x.shape[1] + 1e-5) ** -0.5


def softmax(scores: Any) -> Any:
    """Return exp(s) / Σ exp(s) of each row; scores of normed rows are far from any overflow."""
    powers = scores.exp()
    return powers / powers.sum(1, keepdim=True)


class SmallGPT:
    """Logits of the next token, read from up to `window` tokens.

    ```
    x = tokens[id] + positions[t]
    x ← x + Σ over heads of softmax(norm(x)·Q · (norm(x)·K)ᵀ / √d) · (norm(x)·V) · O
    x ← x + relu(norm(x)·up) · down
    logits = norm(x) · head
    ```

    Args:
        make: makes a matrix of plain numbers, `whence.scalar.Matrix` or a function to a tensor.
        vocab_size: how many tokens there are.
        window: how many tokens it reads.
        width: numbers in a token's vector, D.
        heads: how many; each has d = D / heads numbers.
        seed: of the first weights, drawn from a normal distribution of deviation 0.2.

    Raises:
        WhenceError: where the heads don't divide the width.

    Source:
        Radford et al., "Language models are unsupervised multitask learners", 2019.

    Example:
        >>> from whence.scalar import Matrix
        >>> model = SmallGPT(Matrix, vocab_size=3, window=4, width=4, heads=2)
        >>> round(next_token_loss(model, [0, 1, 2]).data, 3)
        0.8
    """

    def __init__(
        self,
        make: Callable[[list[list[float]]], Any],
        vocab_size: int = 27,
        window: int = 16,
        width: int = 16,
        heads: int = 4,
        seed: int = 42,
    ) -> None:
        if width % heads:
            raise WhenceError(f"A width of {width} cannot be divided among {heads} heads.")
        draw = random.Random(seed)

        def matrix(rows: int, columns: int) -> Any:
            return make([[draw.gauss(0, 0.2) for _ in range(columns)] for _ in range(rows)])

        d = width // heads
        self.tokens, self.positions = matrix(vocab_size, width), matrix(window, width)
        self.heads = [
            (matrix(width, d), matrix(width, d), matrix(width, d), matrix(d, width))
            for _ in range(heads)
        ]
        self.up, self.down = matrix(width, 4 * width), matrix(4 * width, width)
        self.head = matrix(width, vocab_size)

    def parameters(self) -> list[Any]:
        """Return every matrix."""
        of_heads = [part for head in self.heads for part in head]
        return [self.tokens, self.positions, *of_heads, self.up, self.down, self.head]

    def __call__(self, ids: Sequence[Any]) -> list[Any]:
        """Return the logits `[1, vocab_size]` after each token."""
        x = self.tokens[ids] + self.positions[: len(ids)]  # [T, D]
        h = norm(x)
        read = [(h @ Q, h @ K, h @ V, out) for Q, K, V, out in self.heads]  # [T, d] each
        logits = []
        for t in range(len(ids)):
            here = x[t : t + 1]  # [1, D]
            for query, keys, values, out in read:
                scores = query[t : t + 1] @ keys[: t + 1].T / query.shape[1] ** 0.5  # [1, t + 1]
                here = here + softmax(scores) @ values[: t + 1] @ out
            here = here + (norm(here) @ self.up).relu() @ self.down
            logits.append(norm(here) @ self.head)
        return logits


def next_token_loss(model: Any, ids: Sequence[Any]) -> Any:
    """Return the mean of −ln p(next token) over a text of T + 1 tokens, in nats.

    Args:
        model: a `SmallGPT`.
        ids: the tokens; `Value`s among them may be others at the next replay.
    """
    losses = [
        z.exp().sum().log() - z[0, target]
        for z, target in zip(model(ids[:-1]), ids[1:], strict=True)
    ]
    return sum(losses[1:], losses[0]) / len(losses)
