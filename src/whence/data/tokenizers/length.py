"""How many tokens a text has at least, without cutting it: megabytes needn't be, to be refused."""

from typing import Any

from whence.errors import WhenceError


class TooLongError(WhenceError):
    """A text that has more tokens than are read.

    Attributes:
        least: how many tokens it has at least.
    """

    def __init__(self, least: int, most: int):
        super().__init__(
            f"the text has at least {least:,} tokens, and at most {most:,} are read: shorten it."
        )
        self.least = least


def least_tokens(tokenizer: Any, text: str) -> int:
    """Return how many tokens a text has at least: its bytes / those of the longest token.

    Args:
        tokenizer: its `longest` is the most bytes of text that a token stands for, and `lost` are
            bytes that none does. Without `longest`, or where it is None (a token may stand for any
            text), this is 0.
        text: any.

    Example:
        >>> from whence.data.tokenizers import train_tokenizer
        >>> least_tokens(train_tokenizer("bytes", list), "café")
        5
    """
    longest = getattr(tokenizer, "longest", None)
    if not longest:
        return 0
    kept = text.encode("utf-8", "surrogatepass").translate(None, tokenizer.lost)
    return -(-len(kept) // longest)


def check_length(tokenizer: Any, text: str, most: int) -> None:
    """Refuse a text that can't fit, before it is cut into tokens.

    Args:
        tokenizer: as of `least_tokens`.
        text: any.
        most: how many tokens are read.

    Raises:
        TooLongError: the text has more for certain. One that passes can still be too long.

    Example:
        >>> from whence.data.tokenizers import train_tokenizer
        >>> check_length(train_tokenizer("bytes", list), "café", 5)
    """
    least = least_tokens(tokenizer, text)
    if least > most:
        raise TooLongError(least, most)


def ending(tokenizer: Any, text: str, most: int) -> str:
    """Return the end of a text, long enough for its last tokens, and whole where it isn't long.

    It is twice as long as it need be: what a cut changes of the first tokens doesn't reach the
    last.

    Args:
        tokenizer: as of `least_tokens`.
        text: any.
        most: how many of its last tokens matter.

    Example:
        >>> from whence.data.tokenizers import train_tokenizer
        >>> ending(train_tokenizer("bytes", list), "0123456789", 3)
        '456789'
    """
    longest = getattr(tokenizer, "longest", None)
    end = text[-2 * most * longest :] if longest else text
    return end if least_tokens(tokenizer, end) > most else text
