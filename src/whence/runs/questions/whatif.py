"""What if the model had never trained on some text: the counterfactual, replayed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from whence.data import Dataset, Part
from whence.data.batches import NOT_COUNTED
from whence.errors import WhenceError
from whence.runs.replay import Moment, go_to, nearest_checkpoint
from whence.runs.run import Run
from whence.train.evaluation import Evaluation

BLOCK = 1 << 20  # tokens searched at a time


class WithoutWindows:
    """Batches in which every window that touches some text has weight 0.

    The windows stay where they are, so all shapes are as before; their targets aren't counted, and
    the mean is over the tokens of the others.

    Args:
        batches: all batches.
        ranges: (start, stop) of the text in the training tokens.
        context_length: how many tokens a window predicts.

    Example:
        >>> from whence.data import WindowBatches
        >>> tokens = np.arange(90)
        >>> batches = WindowBatches(tokens, context_length=8, batch_size=4, seed=0)
        >>> without = WithoutWindows(batches, [(0, 20)], 8)
        >>> sum(without.touched(step).sum() for step in range(2)) > 0
        np.True_
    """

    def __init__(self, batches, ranges: list[tuple[int, int]], context_length: int):
        self.batches, self.context_length = batches, context_length
        self.ranges = np.array(ranges, dtype=np.int64).reshape(-1, 2)

    def starts(self, step: int) -> np.ndarray:
        """Say where the windows of a step start in the tokens."""
        return self.batches.starts(step)

    def touched(self, step: int) -> np.ndarray:
        """Tell which windows of a step read or predict a token of the text: bool [batch_size]."""
        return self._touch(self.starts(step))

    def _touch(self, starts: np.ndarray) -> np.ndarray:
        first = starts[:, None]
        last = first + self.context_length  # is only predicted
        touches = (first < self.ranges[:, 1]) & (last >= self.ranges[:, 0])  # [windows, ranges]
        return np.asarray(touches.any(axis=1))

    def __getitem__(self, step: int) -> list[tuple[float, Part]]:
        """Return the parts of a step's batch, without the windows.

        Raises:
            WhenceError: where no window of the batch is left.
        """
        parts = []
        for _, part in self.batches[step]:
            rows = torch.from_numpy(self._touch(part.starts))
            targets = part.targets.clone()
            targets[rows.to(targets.device)] = NOT_COUNTED
            parts.append(part._replace(targets=targets))
        counts = [int((part.targets != NOT_COUNTED).sum()) for part in parts]
        if not sum(counts):
            raise WhenceError(
                f"step {step} has no window left: every window of its batch overlaps that text, so "
                "there would be nothing to train on; leave out less."
            )
        pairs = zip(counts, parts, strict=True)
        return [(count / sum(counts), part) for count, part in pairs if count]


def find_text(dataset: Dataset, text: str) -> list[tuple[int, int]]:
    """Find where a text is in the training tokens, as (start, stop) of the tokens it touches.

    Example:
        >>> find_text(Run.open("runs/mine").dataset, "we love")  # doctest: +SKIP
        [(120, 127)]
    """
    wanted, tokens, tokenizer = text.encode(), dataset.train, dataset.tokenizer
    found: set[tuple[int, int]] = set()
    for start in range(0, len(tokens), BLOCK):
        ids = tokens[start : start + BLOCK + len(wanted)]
        raw = tokenizer.decode_bytes(ids)
        place = raw.find(wanted) if wanted else -1
        while place >= 0:
            first = _token_at(tokenizer, ids, place)
            last = _token_at(tokenizer, ids, place + len(wanted) - 1)
            found.add((start + first, start + last + 1))
            place = raw.find(wanted, place + 1)
    return sorted(found)


def _token_at(tokenizer, ids: np.ndarray, offset: int) -> int:
    """The token that holds a byte, by halving."""
    low, high = 0, len(ids)
    while high - low > 1:
        middle = (low + high) // 2
        if tokenizer.n_bytes(ids[:middle]) <= offset:
            low = middle
        else:
            high = middle
    return low


@dataclass
class WhatIf:
    """A run at a step as it was, and as it would have been without some text.

    Attributes:
        step: the state before this step is compared.
        ranges: where the text is in the training tokens.
        dropped: (step, start of the window) for every window that was given weight 0.
        was: the run as it was.
        would_be: the run without the text.
    """

    step: int
    ranges: list[tuple[int, int]]
    dropped: list[tuple[int, int]]
    was: Moment
    would_be: Moment

    def losses(self) -> tuple[float, float]:
        """Return the loss on this step's batch, as it was and as it would be."""
        return self.was.loss(), _loss_on(self.would_be, self.was)

    def evaluations(self, n_tokens: int | None = None) -> tuple[Evaluation, Evaluation]:
        """Measure both on the validation text, or on windows all over it."""
        return self.was.session.evaluate(n_tokens), self.would_be.session.evaluate(n_tokens)

    def text_losses(self) -> tuple[float, float]:
        """Return the mean loss of the left-out text's own tokens, read in its windows' context."""
        tokens = self.was.dataset.train
        start, stop = self.ranges[0]
        length = self.was.recipe.window_length
        window = tokens[max(0, stop - length - 1) : max(stop, 2)].astype(np.int64)
        counted = min(stop - start, len(window) - 1)
        both = []
        for moment in (self.was, self.would_be):
            logits = _logits(moment, window[:-1])
            targets = torch.from_numpy(window[1:])[-counted:]
            chosen = torch.log_softmax(logits, -1)[-counted:].gather(1, targets[:, None])
            both.append(-chosen.mean().item())
        return both[0], both[1]

    def predictions(
        self, prompt: str, top: int = 5, also: Iterable[int] = ()
    ) -> Iterator[tuple[str, float, float]]:
        """Compare what both say comes after a prompt.

        Args:
            prompt: the text before.
            top: so many tokens that either finds likeliest.
            also: ids of tokens to give besides.

        Yields:
            (token, probability as it was, as it would be).
        """
        ids = self.was.tokenizer.encode(prompt)[-self.was.recipe.model.context_length :]
        if not len(ids):
            raise WhenceError("the prompt is empty: give a text whose next token is of interest.")
        was, would = (
            torch.softmax(_logits(m, ids.astype(np.int64))[-1], -1)
            for m in (self.was, self.would_be)
        )
        top = min(top, len(was))
        chosen = set(was.topk(top).indices.tolist()) | set(would.topk(top).indices.tolist())
        chosen |= set(also)
        for number in sorted(chosen, key=lambda i: -max(was[i], would[i]).item()):
            yield self.was.tokenizer.token(number), was[number].item(), would[number].item()


def what_if(run: Run, text: str, step: int, since: int = 0) -> WhatIf:
    """Replay a run without the windows that touch a text.

    The steps before the first such window are the run's own, so the replay begins at the checkpoint
    before it. This is the ground truth for any estimate of what a text taught the model.

    Args:
        run: the run.
        text: exactly as in the training text; every occurrence counts.
        step: compare the states before this step.
        since: windows of the steps before this one stay.

    Raises:
        WhenceError: where the text isn't in the training text, or none of its windows was trained
            on between `since` and `step`.

    Example:
        >>> what_if(Run.open("runs/mine"), "we love", 4300).losses()  # doctest: +SKIP
    """
    run.refuse_counted()
    nearest_checkpoint(run, step)  # refuses a step outside the run
    ranges = find_text(run.dataset, text)
    if not ranges:
        raise WhenceError(
            f"{text[:60]!r} isn't in the training text: give it exactly as it is there."
        )
    without = WithoutWindows(run.batches, ranges, run.recipe.window_length)
    first = run.origin.step if run.origin else 0
    dropped = [
        (k, int(start))
        for k in range(max(since, first), step)
        for start in without.starts(k)[without.touched(k)]
    ]
    if not dropped:
        raise WhenceError(
            f"no window with {text[:60]!r} was trained on from step {max(since, first)} up to "
            f"{step}: there is nothing to leave out."
        )
    would_be = go_to(run, dropped[0][0])
    without.batches = would_be.batches
    would_be.leave_the_record(without)
    for _ in would_be.advance_to(step):
        pass
    return WhatIf(step, ranges, dropped, go_to(run, step), would_be)


@torch.no_grad()
def _loss_on(moment: Moment, other: Moment) -> float:
    return float(sum(weight * moment.loss_fn(moment.model, part) for weight, part in other.batch))


@torch.no_grad()
def _logits(moment: Moment, ids: np.ndarray) -> torch.Tensor:
    """The logits after each token, in evaluation mode: float32 [T, V] on the CPU."""
    moment.model.eval()
    try:
        tokens = torch.from_numpy(ids)[None].to(moment.session.hardware.device)
        with moment.session.hardware.context():
            return moment.model(tokens)[0].float().cpu()
    finally:
        moment.model.train()
