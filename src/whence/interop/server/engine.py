"""Many texts at once: requests join and leave the batch between any two tokens."""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from whence.data import Tokenizer
from whence.errors import WhenceError
from whence.generate.sampling import Sampling, filter_logits, pick
from whence.generate.text import TextStream
from whence.models import GPT
from whence.models.gpt.batch_decode import BatchDecoder

READ_AT_ONCE = 512  # tokens of several prompts, padding among them; a longer one is read alone
Finished = Literal["stop", "length"]


class BusyError(WhenceError):
    """More requests are waiting than there is room for."""


@dataclass(frozen=True)
class Piece:
    """One token that was written, or the end of a text.

    Attributes:
        token: its id; None where the text ends without one more token.
        text: what can be shown now: whole characters, and nothing of a stop string.
        logprob: ln P of the token, before temperature and filters.
        top: the likeliest tokens with their ln P, as many as were asked for.
        finished: why the text ended, or None while it goes on.
    """

    token: int | None
    text: str
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()
    finished: Finished | None = None


class Guide(Protocol):
    """Keeps an answer to a form, token by token."""

    def allow(self, logits: Tensor) -> Tensor:
        """Return logits [V] with −∞ for each token that can't come next."""
        ...

    def take(self, token: int) -> bool:
        """Go on by a token; True where the answer is whole."""
        ...


@dataclass(eq=False)
class Job:
    """A text to be written on.

    Attributes:
        ids: what is read.
        deliver: takes each `Piece`, or the error that ended the text, in the engine's thread.
        max_tokens: how many to write; None for as many as there is room.
        sampling: how tokens are picked.
        seed: of the draws.
        stop: strings that end the text.
        frequency_penalty: taken from a token's logit for each time it was written.
        presence_penalty: taken once from each token that was written.
        bias: token → added to its logit.
        n_top: how many likeliest tokens a piece tells.
        guide: keeps the answer to a form; None for free text.
        cancelled: nobody is waiting for it.
    """

    ids: list[int]
    deliver: Callable[[Piece | Exception], None]
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bias: dict[int, float] = field(default_factory=dict)
    n_top: int = 0
    guide: Guide | None = None
    cancelled: bool = False


class _Seat:
    """A job that is being written."""

    def __init__(self, job: Job, tokenizer: Tokenizer):
        self.job = job
        self.text = TextStream(tokenizer.decode, job.stop)
        self.generator = torch.Generator().manual_seed(job.seed)
        self.counts: Counter[int] = Counter()
        self.n_written = 0
        self.last = 0

    def choose(self, logits: Tensor) -> int:
        """Pick the next token from logits [V]."""
        job = self.job
        if self.counts and (job.frequency_penalty or job.presence_penalty):
            ids = torch.tensor(list(self.counts))
            times = torch.tensor(list(self.counts.values()), dtype=logits.dtype)
            logits = logits.clone()
            logits[ids] -= job.frequency_penalty * times + job.presence_penalty
        if job.bias:
            logits = logits.clone()
            logits[torch.tensor(list(job.bias))] += torch.tensor(list(job.bias.values()))
        if job.guide is not None:
            logits = job.guide.allow(logits)
        if job.sampling.temperature == 0:  # whatever the filters keep
            return int(logits.argmax())
        filtered = filter_logits(logits[None], job.sampling)
        return int(pick(filtered, job.sampling, self.generator))


class Engine:
    """Writes many texts side by side, in a thread of its own.

    Args:
        model: a GPT in evaluation mode, on the CPU.
        tokenizer: its tokenizer.
        seats: how many texts are written at once.
        waiting: how many more may wait.
        length: how many tokens a text may have, prompt and answer together.

    Example:
        >>> engine = Engine(model, tokenizer)  # doctest: +SKIP
        >>> engine.submit(Job([1, 2, 3], print, max_tokens=2))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        seats: int = 8,
        waiting: int = 64,
        length: int | None = None,
    ):
        self.decoder = BatchDecoder(model, seats, length)
        self.tokenizer, self.limit = tokenizer, waiting
        self._ends = set(tokenizer.ends)
        self._waiting: deque[Job] = deque()
        self._seated: dict[int, _Seat] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="whence-engine", daemon=True)
        self._thread.start()

    @property
    def length(self) -> int:
        """How many tokens a text may have."""
        return self.decoder.length

    @property
    def load(self) -> tuple[int, int]:
        """How many texts are being written, and how many wait."""
        return len(self._seated), len(self._waiting)

    def submit(self, *jobs: Job) -> None:
        """Take jobs, all or none.

        Raises:
            BusyError: where too many are waiting.
            WhenceError: where a text leaves no room for an answer.
        """
        for job in jobs:
            if not 1 <= len(job.ids) < self.length:
                raise WhenceError(
                    f"the prompt has {len(job.ids):,} tokens, and prompt and answer together may "
                    f"have {self.length:,}: shorten it."
                )
        if len(jobs) > self.limit:
            raise WhenceError(
                f"the request is for {len(jobs):,} texts, and {self.limit:,} may wait: "
                "ask for fewer."
            )
        with self._changed:
            if self._closed or len(self._waiting) + len(jobs) > self.limit:
                raise BusyError(f"{len(self._waiting)} requests are waiting already: try later.")
            self._waiting.extend(jobs)
            self._changed.notify()

    def cancel(self, *jobs: Job) -> None:
        """Write no more of some jobs."""
        for job in jobs:
            job.cancelled = True
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """End the thread, and with it every text."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._leave()
                while not (self._closed or self._waiting or self._seated):
                    self._changed.wait()
                if self._closed:
                    for job in [*(s.job for s in self._seated.values()), *self._waiting]:
                        job.deliver(WhenceError("the server is being shut down."))
                    return
                jobs = self._next()
            if jobs:
                self._seat(jobs)
            if self._seated:
                self._step()

    def _leave(self) -> None:
        """Drop the jobs that nobody waits for."""
        self._waiting = deque(job for job in self._waiting if not job.cancelled)
        gone = [seat for seat, seated in self._seated.items() if seated.job.cancelled]
        for seat in gone:
            del self._seated[seat]

    def _next(self) -> dict[int, Job]:
        """A seat for each of the texts that are read together: few, so that others go on soon."""
        found: dict[int, Job] = {}
        free = (seat for seat in range(self.decoder.seats) if seat not in self._seated)
        longest = 0
        for seat, job in zip(free, list(self._waiting), strict=False):
            longest = max(longest, len(job.ids))
            if found and (len(found) + 1) * longest > READ_AT_ONCE:
                break
            found[seat] = self._waiting.popleft()
        return found

    def _seat(self, jobs: dict[int, Job]) -> None:
        try:
            self._seated |= {seat: _Seat(job, self.tokenizer) for seat, job in jobs.items()}
            rows = self.decoder.read({seat: job.ids for seat, job in jobs.items()})
        except Exception as error:
            for seat, job in jobs.items():
                self._seated.pop(seat, None)
                if len(jobs) > 1:  # one mustn't fail with another
                    self._seat({seat: job})
                else:
                    job.deliver(error)
            return
        self._take_each(jobs, rows)

    def _step(self) -> None:
        tokens = {seat: seated.last for seat, seated in self._seated.items()}
        try:
            rows = self.decoder.step(tokens)
        except Exception as error:
            for seat in tokens:
                self._fail(seat, error)
            return
        self._take_each(tokens, rows)

    def _take_each(self, seats: Iterable[int], rows: Tensor) -> None:
        for seat, logits in zip(seats, rows, strict=True):
            try:
                self._take(seat, logits)
            except Exception as error:
                self._fail(seat, error)

    def _fail(self, seat: int, error: Exception) -> None:
        seated = self._seated.pop(seat, None)
        if seated is not None:
            seated.job.deliver(error)

    @torch.inference_mode()
    def _take(self, seat: int, logits: Tensor) -> None:
        """Pick a token for a seat, pass it on, and free the seat at the end of the text."""
        seated = self._seated[seat]
        job = seated.job
        logits = logits.float()
        if not math.isfinite(float(logits.max())):  # NaN, where any is
            raise WhenceError("the model's logits are not finite: its weights are damaged.")
        token = seated.last = seated.choose(logits)
        seated.counts[token] += 1
        seated.n_written += 1
        ended = token in self._ends
        text = seated.text.finish() if ended else seated.text.push(token)
        finished: Finished | None = None
        whole = job.guide is not None and job.guide.take(token)
        if whole and not ended:
            text += seated.text.finish()
        if ended or whole or seated.text.stopped is not None:
            finished = "stop"
        elif self._is_full(seat, seated):
            text += seated.text.finish()
            finished = "length" if seated.text.stopped is None else "stop"
        logs = logits.log_softmax(-1)
        best = logs.topk(job.n_top) if job.n_top else None
        top = () if best is None else tuple(
            zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )  # fmt: skip
        if finished is not None:
            del self._seated[seat]
        job.deliver(Piece(token, text, float(logs[token]), top, finished))

    def _is_full(self, seat: int, seated: _Seat) -> bool:
        most = seated.job.max_tokens
        return (most is not None and seated.n_written >= most) or (
            self.decoder.lengths[seat] >= self.length
        )
