"""A head's attention as a picture: for a notebook, a page and a terminal."""

from whence.errors import WhenceError
from whence.lessons.grids import grid
from whence.lessons.svg import Picture
from whence.runs.questions.attention import Map

MOST = 40  # tokens that a picture has room for


def attention_picture(of: Map, head: int = 0) -> Picture:
    """Draw who reads whom in one head; of a longer text its last tokens.

    Args:
        of: the layer's weights, as of `whence.runs.questions.attention.attention`.
        head: which head, from 0.

    Raises:
        WhenceError: there is no such head.

    Example:
        >>> import numpy as np
        >>> picture = attention_picture(Map("attn", ["a", "b"], ["a", "b"], np.eye(2)[None]))
        >>> picture.svg.startswith("<svg")
        True
    """
    n = len(of.weights)
    if not 0 <= head < n:
        raise WhenceError(f"there is no head {head + 1} in {of.name}: it has heads 1 to {n}.")
    reads, read = of.reads[-MOST:], of.read[-MOST:]
    rows = of.weights[head][-MOST:, -MOST:].tolist()
    title = f"Who reads whom: {of.name}, head {head + 1}"
    return grid(title, _apart(reads), _apart(read), rows, across="is read", down="reads")


def _apart(tokens: list[str]) -> list[str]:
    """Tokens as distinct names: one that occurs twice gets its position.

    Example:
        >>> _apart(["the", " cat", "the"])
        ['the', '␣cat', 'the·3']
    """
    shown = [token.replace(" ", "␣") for token in tokens]
    return [name if name not in shown[:i] else f"{name}·{i + 1}" for i, name in enumerate(shown)]
