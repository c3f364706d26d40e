"""One more token of a GPT as one native function: each weight is read once, as it is stored."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from whence.models.compiled import compiled
from whence.models.gpt import row_atomics, row_attention, row_dots
from whence.models.gpt import row_kernels as part


def _made(text: str) -> Callable[..., Any]:
    """Make `step`, kept on disk as long as the text of all it is made from stays.

    By itself numba looks at this file alone. What a function takes from around it counts, too.
    """

    def step(
        matrices, layers, last, sizes, kinds, eps, seats, places, angles, counts,
        x, qkv, read, hidden, logits,
    ):  # fmt: skip
        """Read one more token of each text: x, its embedding, in place; logits of the next.

        Several threads call it at once with the same arguments; `counts` starts at 0. There is
        room for one text, or for a multiple of four, of which the first ones are there.

        Args:
            matrices: [L + 1, 8, 7], of each layer and, in the last row, of the head.
            layers: [L, 8], addresses.
            last: weight and bias of the last norm.
            sizes: heads, groups, d, room, kind of keys and values, whether q and k are normed,
                whether they are turned.
            kinds: of norm, activation.
            eps: of the norms.
            seats: [B], where the keys and values of each text are.
            places: [B], how many tokens each has read.
            angles: [B, 2, d], cosines and sines of the places.
            counts: two for each phase: chunks taken, chunks done.
            x: [R, D], R being the room.
            qkv: [R, (H + 2G)·d], is written to, as are the next.
            read: [R, H·d].
            hidden: [R, F].
            logits: [R, V].
        """
        _ = text  # so that it is taken from around it
        L, R, norm, activation = len(layers), len(x), kinds[0], kinds[1]
        heads, groups, d = sizes[0], sizes[1], sizes[2]
        keys, values = heads * d, (heads + groups) * d
        widest = max(x.shape[1], read.shape[1], hidden.shape[1])
        y, spare = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
        sums = np.zeros((R, widest // part.GROUP + 1), np.float32)
        scores = np.empty(places.max() + 1, np.float32)
        small = np.empty((3, d), np.float32)
        gates = np.empty(hidden.shape, np.float32)
        for n in range(L):
            m, layer, phase = matrices[n], layers[n], n * part.PHASES
            part.normed(norm, layer[part.NORM1], layer[part.NORM1_BIAS], eps, x, y)
            part.group_sums(y, sums)
            part.product(m[part.Q], counts, phase + part.Q, y, sums, qkv[:, :keys])
            part.product(m[part.K], counts, phase + part.K, y, sums, qkv[:, keys:values])
            part.product(m[part.V], counts, phase + part.V, y, sums, qkv[:, values:])
            part.wait(counts, phase + part.Q, part.chunks_of(m[part.Q]))
            part.wait(counts, phase + part.K, part.chunks_of(m[part.K]))
            part.wait(counts, phase + part.V, part.chunks_of(m[part.V]))
            row_attention.attend(
                layer, counts, phase + part.ATTENTION, sizes, eps, seats, places, angles, qkv,
                scores, small, read,
            )  # fmt: skip
            part.wait(counts, phase + part.ATTENTION, heads * len(places))
            part.group_sums(read, sums)
            part.add_product(m[part.OUT], counts, phase + part.OUT, read, sums, spare, x)
            part.wait(counts, phase + part.OUT, part.chunks_of(m[part.OUT]))
            part.normed(norm, layer[part.NORM2], layer[part.NORM2_BIAS], eps, x, y)
            part.group_sums(y, sums)
            part.feed_forward(
                m[part.UP], m[part.GATE], counts, phase + part.UP, activation, y, sums, gates,
                hidden,
            )  # fmt: skip
            part.wait(counts, phase + part.UP, part.chunks_of(m[part.UP]))
            part.group_sums(hidden, sums)
            part.add_product(m[part.DOWN], counts, phase + part.DOWN, hidden, sums, spare, x)
            part.wait(counts, phase + part.DOWN, part.chunks_of(m[part.DOWN]))
        part.normed(norm, last[0], last[1], eps, x, y)
        part.group_sums(y, sums)
        head = matrices[L, part.HEAD]
        part.product(head, counts, L * part.PHASES, y, sums, logits)
        part.wait(counts, L * part.PHASES, part.chunks_of(head))

    return compiled(step, fastmath=part.FAST)


_SOURCES = (
    *(__file__, part.__file__, row_attention.__file__),
    *(row_dots.__file__, row_atomics.__file__),
)
step = _made(sha256(b"".join(Path(name).read_bytes() for name in _SOURCES)).hexdigest())
