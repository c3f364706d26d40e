"""Sorted runs of counted keys, on disk, and their merging."""

from collections.abc import Iterator

import numpy as np

from whence.models.ngram.counts.scratch import Scratch


class Runs:
    """Sorted, distinct keys with their counts, one run for each part of a text.

    Args:
        scratch: where files go.
        in_memory: keep the runs in memory (there is only one, and it fits).
    """

    def __init__(self, scratch: Scratch, in_memory: bool):
        self.scratch = scratch
        self.in_memory = in_memory
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def most(self) -> int:
        """No more different keys than this are in all the runs together."""
        return sum(len(keys) for keys, _ in self.runs)

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Adds a run: sorted, distinct int64 `keys`, uint32 `counts`."""
        if not self.in_memory and len(keys):
            keys, counts = self._written(keys), self._written(counts)
        self.runs.append((keys, counts))

    def merged(self, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All runs as one, about `block` keys at a time, equal keys' counts added up."""
        if len(self.runs) == 1:
            yield self.runs[0]
            return
        share = max(1, block // max(1, len(self.runs)))
        at = [0] * len(self.runs)
        while open_runs := [r for r, (keys, _) in enumerate(self.runs) if at[r] < len(keys)]:
            # What is not above the least of the blocks' last keys is complete in these blocks.
            ends = {r: min(at[r] + share, len(self.runs[r][0])) for r in open_runs}
            bound = min(int(self.runs[r][0][ends[r] - 1]) for r in open_runs)
            keys, counts = [], []
            for r in open_runs:
                part = np.array(self.runs[r][0][at[r] : ends[r]])
                n = int(np.searchsorted(part, bound, side="right"))
                keys.append(part[:n])
                counts.append(np.array(self.runs[r][1][at[r] : at[r] + n]))
                at[r] += n
            yield _added_up(np.concatenate(keys), np.concatenate(counts))
        for keys, counts in self.runs:
            self.scratch.free(keys)
            self.scratch.free(counts)

    def _written(self, values: np.ndarray) -> np.ndarray:
        path = self.scratch.new_file(values.nbytes)
        values.tofile(path)
        return np.memmap(path, dtype=values.dtype, mode="r")


def _added_up(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    begins = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[begins], np.add.reduceat(counts, begins)
