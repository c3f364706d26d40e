"""Bytes: the 256 tokens that any text is made of. Nothing to learn, nothing unknown."""

import numpy as np

from whence.data.tokenizers.vocabulary import Vocabulary


class ByteTokenizer(Vocabulary):
    """Each UTF-8 byte is a token, its value the id.

    Example:
        >>> ByteTokenizer().encode("Hé").tolist()
        [72, 195, 169]
    """

    kind = "bytes"

    def __init__(self, end: bool = False):
        super().__init__([bytes([value]) for value in range(256)], end)

    def encode(self, text: str) -> np.ndarray:
        """Turn text into its UTF-8 bytes."""
        raw = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return raw.astype(self.dtype)

    def decode_bytes(self, ids) -> bytes:
        """Join the bytes.

        Raises:
            WhenceError: an id isn't in 0 … 255.
        """
        known = self._known(ids)
        return known[known < 256].astype(np.uint8).tobytes()
