"""A conversation as token ids: the template's special tokens are special, those typed are text."""

import re
from collections.abc import Sequence
from typing import Any

from whence.data import Tokenizer
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.data.tokenizers.length import check_length
from whence.errors import WhenceError
from whence.interop.talk.template import Message, render
from whence.interop.tokenizers_out import chat_template, special_tokens

ROLES = ("system", "user", "assistant", "developer", "tool")
MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # code points that no text may hold


def conversation_ids(
    tokenizer: Tokenizer, messages: Sequence[Message], most: int | None = None
) -> list[int]:
    """Return the ids of a conversation, up to where the answer begins.

    A person who types `<|im_end|>` doesn't end a turn: what a template writes is parsed, what the
    messages hold is text.

    Args:
        tokenizer: with a chat template.
        messages: each with a `role` and a `content`.
        most: how many ids are read; None for no bound.

    Raises:
        WhenceError: without a template, or where it fails.
        TooLongError: there are more than `most` for certain; nothing was cut into tokens then.

    Example:
        >>> conversation_ids(run.tokenizer, [{"role": "user", "content": "Hi"}])  # doctest: +SKIP
        [1, 9690, 198, 2683, 359, 253, 5356, 5646]
    """
    template = chat_template(tokenizer)
    if template is None or not isinstance(tokenizer, ImportedTokenizer):
        raise WhenceError(
            "the model has no chat template: use 'whence generate' to continue a text."
        )
    special = sorted(tokenizer.special, key=len, reverse=True)
    typed = [str(value) for message in messages for value in message.values()]
    spells = re.compile("|".join(map(re.escape, special))) if special else None
    if spells is None or not any(spells.search(text) for text in typed):
        text = render(template, messages, special_tokens(tokenizer))
        if most is not None:
            check_length(tokenizer, text, most)
        return tokenizer.parse(text).tolist()
    mark = next((m for m in MARKS if not any(m in text for text in typed)), None)
    if mark is None:
        raise WhenceError(
            "a message contains code points that aren't allowed in text (U+FDD0 to U+FDEF)."
        )
    hidden = [
        {name: _hide(value, spells, mark) for name, value in message.items()}
        for message in messages
    ]
    text = render(template, hidden, special_tokens(tokenizer))
    if most is not None:
        check_length(tokenizer, text.replace(mark, ""), most)
    ids: list[int] = []
    place = 0
    for found in [*spells.finditer(text), None]:
        between = text[place : found.start() if found else len(text)].replace(mark, "")
        if between:
            ids += tokenizer.encode(between).tolist()
        if found:
            ids.append(tokenizer.special[found[0]])
            place = found.end()
    return ids


def _hide(value: Any, spells: re.Pattern[str], mark: str) -> Any:
    """Break each spelling of a special token by a mark, which is taken out again later."""
    if not isinstance(value, str):
        return value
    return spells.sub(lambda found: found[0][0] + mark + found[0][1:], value)
