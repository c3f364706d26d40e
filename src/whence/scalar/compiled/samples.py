"""The mean of a loss over samples, replayed with those that share a graph in parallel."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from whence.errors import WhenceError
from whence.scalar import ops
from whence.scalar.compiled.batch import columns, take_apart
from whence.scalar.compiled.lane_kernels import Room, run
from whence.scalar.compiled.lanes import LaneProgram, split
from whence.scalar.compiled.replay import (
    OTHER_GRAPH,
    ArrayLoss,
    Loss,
    Recording,
    as_array,
    check,
    notice,
    record,
    to_check,
)
from whence.scalar.value import Value, many


class SampleGraph(NamedTuple):
    """The recorded graph of one sample, split for lanes."""

    recording: Recording
    program: LaneProgram
    used: Any
    rooms: list[Room]

    def parameters(self) -> list[float]:
        """Return the parameters as they are."""
        return [v._data for v in self.recording.sources]

    def run(self, parameters: Any, data: Any, weight: float) -> Any:
        """Return losses, gradients, which samples the graph fits, whether all, and Σ losses."""
        constants, sources = self.recording.tape.constants, self.recording.source_slots
        # Taken out while it is used: another thread makes a room of its own.
        room = self.rooms.pop() if self.rooms else Room.of(self.program)
        found = run(self.program, room, constants, sources, self.used, parameters, data, weight)
        self.rooms.append(room)
        return found


def sample_graph(recording: Recording) -> SampleGraph:
    """Split a recording in what is common to all samples and what is not."""
    used = np.flatnonzero(recording.inputs >= 0)
    program = split(recording.tape, recording.inputs[used].tolist())
    return SampleGraph(recording, program, used, [])


class Part(NamedTuple):
    """What one graph gave: the parameters it read, what they were, and their gradients."""

    sources: list[Value]
    numbers: list[float]
    slopes: list[float]


class CompiledEach:
    """The mean of a sample's loss, replayed. Made by `jit(…, each=True)`.

    Attributes:
        recordings: how often a graph was recorded.
        calls: how often it was called.
    """

    LIMIT = 64  # graphs kept for one shape of sample

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.graphs: dict[Any, list[SampleGraph]] = {}
        self.recordings = 0
        self.calls = 0

    def __call__(self, model: Any, samples: Any) -> Value:
        """Return Σ loss / n over the samples, added up in their order.

        Raises:
            WhenceError: if there are no samples, if samples hold `Value`s, or if the function is
                found to use numbers that it was not given.
        """
        self.calls += 1
        groups = _by_shape(samples)
        n = sum(len(rows) for _, rows, _ in groups)
        if not n:
            raise WhenceError("The mean over no samples is not defined: give at least one.")
        losses = np.zeros(n)
        parts: list[Part] = []
        for shape, rows, data in groups:
            parts += self._group(model, shape, rows, data, 1.0 / n, losses)
        total, *others = losses.tolist()
        for x in others:
            total += x
        if to_check(self.calls):
            k = self.calls % n
            check(self.loss, model, _sample(samples, k), float(losses[k]))
        part = parts[0] if len(parts) == 1 else _merged(parts)
        out = many(ops.REPLAY, part.sources, tuple(part.numbers), total / n)
        out._y = part.slopes
        return out

    def arrays(self, model: Any, samples: Any) -> tuple[ArrayLoss, Any, Any]:
        """Return the graph of one sample as a function of arrays, for a loop without Values.

        Returns:
            The function `(parameters, numbers) -> (mean loss, gradient)`, the parameters, and the
            samples' numbers `[samples, numbers]`, as they are now. All samples must be of one shape
            and share one graph; the function raises where they don't.
        """
        (shape, _, data), *others = _by_shape(samples)
        graph = sample_graph(record(self.loss, model, shape, data[0].tolist()))
        if others:
            raise WhenceError(OTHER_GRAPH)

        def function(parameters: Any, numbers: Any) -> tuple[float, Any]:
            n = len(numbers)
            _, gradient, _, whole, total = graph.run(parameters, numbers, 1.0 / n)
            if not whole:
                raise WhenceError(OTHER_GRAPH)
            return total / n, gradient

        return function, np.array(graph.parameters()), data

    def _group(
        self, model: Any, shape: Any, rows: Any, data: Any, weight: float, losses: Any
    ) -> list[Part]:
        """Compute the samples of one shape, with as many graphs as it takes."""
        known = self.graphs.setdefault(shape, [])
        tried = 0
        parts = []
        while len(rows):
            if tried == len(known):
                recording = record(self.loss, model, shape, data[0].tolist())
                self.recordings += 1
                notice(self.recordings, self.calls)
                known.append(sample_graph(recording))
            graph = known[tried]
            tried += 1
            numbers = graph.parameters()
            parameters = np.array(numbers, dtype=np.float64)
            found, gradient, fits, whole, _ = graph.run(parameters, data, weight)
            if not whole:
                if not fits.any():
                    continue
                _, gradient, _, _, _ = graph.run(parameters, data[fits], weight)
            losses[rows[fits]] = found[fits]
            parts.append(Part(graph.recording.sources, numbers, gradient.tolist()))
            rows, data = rows[~fits], data[~fits]
        del known[: max(0, len(known) - self.LIMIT)]
        return parts


def _merged(parts: Sequence[Part]) -> Part:
    """Add up the gradients of several graphs."""
    sources: dict[int, Value] = {}
    slopes: dict[int, float] = {}
    for part in parts:
        for v, g in zip(part.sources, part.slopes, strict=True):
            sources[id(v)] = v
            slopes[id(v)] = slopes.get(id(v), 0.0) + g
    found = list(sources.values())
    return Part(found, [v._data for v in found], list(slopes.values()))


def _sample(samples: Any, k: int) -> Any:
    if columns(samples) is not None and isinstance(samples, tuple):
        return tuple(x[k] for x in samples)
    return samples[k]


def _by_shape(samples: Any) -> list[tuple[Any, Any, Any]]:
    """Return (shape, which samples, their numbers) for each shape among the samples."""
    arrays = columns(samples)
    if arrays is not None:
        shape, data = arrays
        return [(shape, np.arange(len(data)), data)]
    found: dict[Any, tuple[list[int], list[Any]]] = {}
    for i, sample in enumerate(samples):
        shape, numbers = take_apart(sample)
        rows, data = found.setdefault(shape, ([], []))
        rows.append(i)
        data.append(numbers)
    return [(shape, np.array(rows), _table(data)) for shape, (rows, data) in found.items()]


def _table(rows: Sequence[list[Any]]) -> Any:
    if any(isinstance(x, Value) for row in rows for x in row):
        raise WhenceError(
            "Samples that are replayed in parallel must be plain numbers, not Values: give "
            "numbers, or compile the loss of the whole batch."
        )
    return as_array([x for row in rows for x in row]).reshape(len(rows), -1)
