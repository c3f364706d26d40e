"""A conversation with a run's model, turn by turn."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from whence.data.tokenizers.length import TooLongError
from whence.errors import WhenceError
from whence.generate import Event, stream
from whence.generate.generate import encode_prompt
from whence.interop.talk.answers import Answer, new_id
from whence.interop.talk.conversation import conversation_ids
from whence.interop.talk.spoken import Spoken, spoken_for
from whence.models import GPT
from whence.runs.run import Run
from whence.runs.trained import step_of
from whence.scale.weights import Weights


@dataclass
class Chat:
    """What was said, and how the next answer is drawn.

    Args:
        run: its model answers; it has a chat template, or `plain` is set.
        settings: of `whence.generate.stream`: temperature, top_k, top_p, min_p, seed.
        max_tokens: of an answer.
        plain: use no template: what was said, joined, is a text that the model continues.
        writer: the run's model, where it is at hand already.
        weights: how the writer's weights are stored; see `whence.runs.run.Run.writer`.

    Attributes:
        messages: the turns so far, each with `role` and `content`.
        last: the last answer, from its first token on.

    Raises:
        WhenceError: where the model has no chat template, though it needs one.

    Example:
        >>> chat = Chat(Run.open("runs/smollm"))  # doctest: +SKIP
        >>> "".join(chat.say("Name a fish."))  # doctest: +SKIP
        'A common fish is the cod.'
    """

    run: Run
    settings: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 512
    messages: list[dict[str, str]] = field(default_factory=list)
    last: Answer | None = None
    plain: bool = False
    writer: Any = None
    weights: Weights = "fp32"

    def __post_init__(self) -> None:
        if not self.plain:
            conversation_ids(self.run.tokenizer, [{"role": "user", "content": "Hi"}])
        self._writer: Any = self.writer or self.run.writer(weights=self.weights)
        self._length: int = self._writer.context_length
        self._step = step_of(self.run, "best")

    def ids_of(self, messages: list[dict[str, str]]) -> list[int]:
        """Return what the model reads of some turns."""
        if not self.plain:
            return conversation_ids(self.run.tokenizer, messages, self._length)
        text = "".join(m["content"] for m in messages)
        return encode_prompt(self.run.tokenizer, text, self._length)

    def say(self, text: str) -> Iterator[str]:
        """Say something, and give the answer's text as it is written; see `answer`."""
        with closing(self.answer(text)) as events:
            for event in events:
                if event.text:
                    yield event.text

    def answer(self, text: str, show_distributions: bool = False) -> Generator[Event, None, None]:
        """Say something, and give the answer token by token.

        What was said is taken back where the answer is broken off before its first token.

        Raises:
            WhenceError: where the conversation is longer than the model reads.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        try:
            ids = self.ids_of(asked)
        except TooLongError as error:
            raise self._too_long(f"at least {error.least:,}") from error
        room = self._length - len(ids)
        if room < 1 and not self.plain:
            raise self._too_long(f"{len(ids):,}")
        pieces: list[str] = []
        written: list[int] = []
        limit = self.max_tokens if self.plain else min(self.max_tokens, room)
        events = stream(
            self._writer, self.run.tokenizer, ids, max_tokens=limit,
            show_distributions=show_distributions, **self.settings,
        )  # fmt: skip
        try:
            for event in events:
                _take(event, written, pieces)
                if written and (self.last is None or self.last.written is not written):
                    self.last = Answer(new_id("chat"), self._step, ids, written, self.weights)
                yield event
        finally:
            if written and self.last is not None:  # also where the reader breaks off
                self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]
                self.last.save(self.run.path)

    def _too_long(self, count: str) -> WhenceError:
        return WhenceError(
            f"the conversation has {count} tokens and the model reads {self._length:,}: start "
            "again (/reset in the terminal)."
        )

    def why(self, number: int) -> tuple[list[int], int, Spoken]:
        """Break down the logit of a token of the last answer.

        Args:
            number: which, from 1; negative ones count from the end.

        Returns:
            What was read before it, the token, and what made it likely.

        Raises:
            WhenceError: where there is no such token.
        """
        if self.last is None:
            raise WhenceError("there is no answer yet: say something first.")
        written = self.last.written
        at = number - 1 if number > 0 else len(written) + number
        if number == 0 or not 0 <= at < len(written):
            raise WhenceError(f"the last answer has {len(written)} tokens: there is no {number}.")
        before = [*self.last.prompt, *written[:at]]
        # What was rounded to be faster isn't opened: the run's own weights are.
        model = self._writer if self.weights == "fp32" else self.run.model()
        if not isinstance(model, GPT):
            raise WhenceError("only a GPT's tokens can be broken down by head and layer.")
        return before, written[at], spoken_for(model, before, written[at])

    def reset(self) -> None:
        """Forget what was said, but for what the system was told."""
        self.messages = [m for m in self.messages if m["role"] == "system"]
        self.last = None

    def system(self, text: str) -> None:
        """Start again, and tell the model who it is; an empty text leaves that to the template."""
        self.messages = [{"role": "system", "content": text}] if text else []
        self.last = None


def _take(event: Event, written: list[int], pieces: list[str]) -> None:
    if event.token_id is not None:
        written.append(event.token_id)
    pieces.append(event.text)
