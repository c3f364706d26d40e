"""From tokens to text that can be shown at once: whole characters only, and no stop string."""

from collections.abc import Callable, Sequence

HALF = "\ufffd"  # what a decoder puts where bytes don't make a character


class TextStream:
    """Text that grows token by token; `push` gives what is safe to show.

    Held back are bytes that don't make a character yet, and an ending that could turn out to be the
    start of a stop string. What all calls return, joined, is the decoded text up to the stop.

    Args:
        decode: ids to text.
        stop: strings at which the text ends; they aren't part of it.

    Attributes:
        stopped: the stop string that was found, or None.

    Example:
        >>> stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"), stop=["END"])
        >>> [stream.push(byte) for byte in "né.ENDx".encode()][:-1]
        ['n', '', 'é', '.', '', '', '']
        >>> stream.stopped
        'END'
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = [s for s in stop if s]
        self._shown_ids: list[int] = []  # the tokens of the last piece, context for the next one
        self._new_ids: list[int] = []
        self._held = ""
        self.stopped: str | None = None

    def push(self, token_id: int) -> str:
        """Append a token; the text that may be shown now (often a character, sometimes none)."""
        if self.stopped is not None:
            return ""
        self._new_ids.append(token_id)
        piece = self._piece()
        if piece.endswith(HALF):
            return ""
        self._shown_ids, self._new_ids = self._new_ids, []
        return self._until_stop(piece)

    def finish(self) -> str:
        """The text that was held back; after it the stream is at its end.

        The bytes of a character that isn't complete are left out.
        """
        if self.stopped is not None:
            return ""
        piece = self._piece() if self._new_ids else ""
        text = self._until_stop(piece.rstrip(HALF))
        if self.stopped is None:
            text, self._held = text + self._held, ""
        self._new_ids = []
        return text

    def _piece(self) -> str:
        # Some tokenizers put a space between tokens: decode with the tokens before, and cut those.
        before = self._decode(self._shown_ids)
        return self._decode(self._shown_ids + self._new_ids)[len(before) :]

    def _until_stop(self, piece: str) -> str:
        text = self._held + piece
        found = [(text.find(s), -len(s), s) for s in self._stop if s in text]
        if found:
            where, _, self.stopped = min(found)
            self._held = ""
            return text[:where]
        hold = max((_overlap(text, s) for s in self._stop), default=0)
        shown, self._held = text[: len(text) - hold], text[len(text) - hold :]
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest ending of text that starts stop."""
    return next(n for n in range(min(len(text), len(stop)), -1, -1) if text.endswith(stop[:n]))
