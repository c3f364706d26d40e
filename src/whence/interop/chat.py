"""A conversation with a run's model, turn by turn."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from whence.errors import WhenceError
from whence.generate import Event, stream
from whence.interop.answers import Answer, new_id
from whence.interop.conversation import conversation_ids
from whence.interop.spoken import Spoken, spoken_for
from whence.models import GPT
from whence.runs.run import Run
from whence.runs.trained import step_of


@dataclass
class Chat:
    """What was said, and how the next answer is drawn.

    Args:
        run: its model answers; it has a chat template.
        settings: of `whence.generate.stream`: temperature, top_k, top_p, min_p, seed.
        max_tokens: of an answer.

    Attributes:
        messages: the turns so far, each with `role` and `content`.
        last: the last answer, once there is one.

    Raises:
        WhenceError: where the model has no chat template.

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

    def __post_init__(self) -> None:
        conversation_ids(self.run.tokenizer, [{"role": "user", "content": "Hi"}])
        self._writer: Any = self.run.writer()
        self._step = step_of(self.run, "best")

    def say(self, text: str) -> Iterator[str]:
        """Say something, and give the answer as it is written.

        What was said is taken back where the answer is broken off before its first token.

        Raises:
            WhenceError: where the conversation is longer than the model reads.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        ids = conversation_ids(self.run.tokenizer, asked)
        room = self._writer.context_length - len(ids)
        if room < 1:
            raise WhenceError(
                f"the conversation has {len(ids):,} tokens and the model reads "
                f"{self._writer.context_length:,}: begin anew with /reset."
            )
        pieces: list[str] = []
        written: list[int] = []
        limit = min(self.max_tokens, room)
        events = stream(self._writer, self.run.tokenizer, ids, max_tokens=limit, **self.settings)
        try:
            for event in events:
                _take(event, written, pieces)
                if event.text:
                    yield event.text
        finally:
            if written:  # also where the reader breaks off
                self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]
                self.last = Answer(new_id("chat"), self._step, ids, written)
                self.last.save(self.run.path)

    def why(self, number: int) -> tuple[list[int], int, Spoken]:
        """Take a token of the last answer apart.

        Args:
            number: which, from 1; negative ones count from the end.

        Returns:
            What was read before it, the token, and what spoke for it.

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
        model = self._writer
        if not isinstance(model, GPT):
            raise WhenceError("only a GPT's tokens can be taken apart by head and layer.")
        return before, written[at], spoken_for(model, before, written[at])

    def reset(self) -> None:
        """Forget what was said, but for what the system was told."""
        self.messages = [m for m in self.messages if m["role"] == "system"]
        self.last = None

    def system(self, text: str) -> None:
        """Begin anew, and tell the model who it is; an empty text leaves that to the template."""
        self.messages = [{"role": "system", "content": text}] if text else []
        self.last = None


def _take(event: Event, written: list[int], pieces: list[str]) -> None:
    if event.token_id is not None:
        written.append(event.token_id)
    pieces.append(event.text)
