"""Text cut into tokens on all cores, in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")


def encoded(
    pieces: Iterable[tuple[Key, str]],
    encode: Callable[[str], np.ndarray],
    workers: int | None = None,
) -> Iterator[tuple[Key, str, np.ndarray]]:
    """Encode pieces of text at the same time, and give them in their order.

    Threads do it: the libraries that merge bytes let others work meanwhile. At most four pieces for
    each thread are held at a time, however long the text.

    Args:
        pieces: (anything, text), read as they are needed.
        encode: text → ids.
        workers: how many threads; none: one for each core that this process may use. With 1 nothing
            is done at the same time.

    Example:
        >>> pieces = [(0, "ab"), (1, "c")]
        >>> [(key, ids.tolist()) for key, _, ids in encoded(pieces, lambda t: np.array([len(t)]))]
        [(0, [2]), (1, [1])]
    """
    workers = workers or cores()
    if workers == 1:
        for key, text in pieces:
            yield key, text, encode(text)
        return
    waiting: deque[tuple[Key, str, Future[np.ndarray]]] = deque()
    with ThreadPoolExecutor(workers, "encode") as pool:
        try:
            for key, text in pieces:
                waiting.append((key, text, pool.submit(encode, text)))
                if len(waiting) >= 4 * workers:
                    first, read, ids = waiting.popleft()
                    yield first, read, ids.result()
            for key, text, ids in waiting:
                yield key, text, ids.result()
        finally:  # of a caller who has had enough, too
            for *_, ids in waiting:
                ids.cancel()


def cores() -> int:
    """Return how many cores this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
