"""A conversation with a run's model, some tokens for each question; why a token was written."""

import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from whence.errors import WhenceError, shell_word
from whence.generate import Event
from whence.interop.talk.chat import Chat
from whence.interop.talk.spoken import speakers
from whence.interop.tokenizers_out import advised, chat_template
from whence.models.seq2seq.config import ClassifierConfig, Seq2SeqConfig
from whence.runs.run import Run
from whence.runs.trained import step_of
from whence.studio.answers.inside.prediction import shown
from whence.studio.answers.inside.traces import stamp
from whence.studio.answers.place import COMPUTING, open_run, python_path

LONGEST = 100_000  # characters of a conversation
MOST_TOKENS = 2_000  # of an answer
OTHERS = 8  # alternatives to a token
SPOKE = 12  # parts, and words, that are told by name
PAUSE = 0.15  # seconds after which a question is answered with what was written
_KEPT = 4
_ANSWERS: OrderedDict[tuple[Any, ...], "_Written"] = OrderedDict()
_WRITERS: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


@dataclass
class _Written:
    """An answer while it is written; the same question continues it."""

    talk: Chat
    events: Generator[Event, None, None]
    tokens: list[dict[str, Any]] = field(default_factory=list)
    finished: str | None = None


def chat(
    folder: Path,
    *,
    run: str,
    messages: list | None = None,
    start: int = 0,
    stop: bool = False,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int = 0,
    max_tokens: int = 300,
) -> dict[str, Any]:
    """Write an answer on, and give its tokens from `start` on.

    The same conversation and settings give the same answer, so a page asks again and again until
    it is finished. Without messages it says how the model can be talked to.

    Args:
        folder: the folder of runs.
        run: the run's name.
        messages: the turns so far, each with `role` and `content`; the last one is the user's.
        start: how many tokens of the answer are known.
        stop: end it here.
        temperature: as of `whence.generate.Sampling`; none: what the model's makers advise.
        top_p: as of `whence.generate.Sampling`.
        seed: of the draws.
        max_tokens: of the answer.
    """
    opened = _open(folder, run)
    made = advised(opened.tokenizer)
    settings = {
        "temperature": made.get("temperature", 0.7) if temperature is None else temperature,
        "top_p": made.get("top_p") if top_p is None else top_p,
        "seed": seed,
    }
    head = {
        "run": run,
        "step": step_of(opened, "best"),
        "template": chat_template(opened.tokenizer) is not None,
        "window": opened.recipe.model.context_length,
        **settings,
        "max_tokens": max_tokens,
    }
    if not messages:
        return {**head, **_copies(opened, [], settings, max_tokens)}
    turns = _turns(messages)
    with COMPUTING:
        found = _written(opened, turns, settings, max_tokens)
        _go_on(found, start, stop)
    last = found.talk.last
    return {
        **head,
        "tokens": found.tokens[start:],
        "count": len(found.tokens),
        "text": "".join(token["text"] for token in found.tokens),
        "finished": found.finished,
        "answer": last.id if last and found.finished else None,
        **_copies(opened, turns, settings, max_tokens),
    }


def spoken(
    folder: Path,
    *,
    run: str,
    messages: list,
    token: int,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int = 0,
    max_tokens: int = 300,
) -> dict[str, Any]:
    """Say which layers, heads and earlier words made a token of an answer likely or unlikely.

    Args:
        folder: the folder of runs.
        run: the run's name.
        messages: as of `chat`, as all below.
        token: which token of the answer, from 1.
        temperature: see `chat`.
        top_p: see `chat`.
        seed: see `chat`.
        max_tokens: see `chat`.
    """
    given = {"temperature": temperature, "top_p": top_p, "seed": seed, "max_tokens": max_tokens}
    head = chat(folder, run=run, **given)
    opened, turns = _open(folder, run), _turns(messages)
    settings = {name: head[name] for name in ("temperature", "top_p", "seed")}
    with COMPUTING:
        found = _written(opened, turns, settings, max_tokens)
        while found.finished is None and len(found.tokens) < token:
            _go_on(found, len(found.tokens), stop=False)
        before, number, parts = found.talk.why(token)
    words = [shown(opened, i) for i in before]
    rows = speakers(parts, words)
    read = parts.heads.sum((0, 1))  # of each earlier word
    order = read.abs().argsort(descending=True)[:SPOKE].tolist()
    assert found.talk.last is not None
    found.talk.last.save(opened.path)  # the command below opens it, finished or not
    place = shell_word(opened.path)
    return {
        "run": run,
        "token": token,
        "shown": shown(opened, number),
        "logit": parts.logit,
        "rows": [{"label": who, "value": share} for share, who in rows[:SPOKE]],
        "rest": {"count": len(rows[SPOKE:]), "value": sum(share for share, _ in rows[SPOKE:])},
        "rounding": parts.logit - parts.total,
        "words": [{"place": i, "text": words[i], "value": read[i].item()} for i in order],
        "read": len(words),
        "answer": found.talk.last.id,
        "python": f"{_talk(opened, turns, settings, max_tokens)}; list(talk.say("
        f"{turns[-1]['content']!r})); print(talk.why({token}))",
        "shell": f"whence why {place} --answer {found.talk.last.id} --token {token}",
    }


def _open(folder: Path, run: str) -> Run:
    opened = open_run(folder, run)
    if isinstance(opened.recipe.model, ClassifierConfig | Seq2SeqConfig):
        raise WhenceError(
            f"{run} turns a whole text into a label or another text and can't chat: "
            "ask it with 'whence classify' or on the Prediction page."
        )
    return opened


def _turns(messages: list) -> list[dict[str, str]]:
    good = all(
        isinstance(m, dict)
        and set(m) == {"role", "content"}
        and m["role"] in ("system", "user", "assistant")
        and isinstance(m["content"], str)
        for m in messages
    )
    if not good or not messages or messages[-1]["role"] != "user":
        raise WhenceError(
            "messages must be turns with a role (system, user, assistant) and a content, and the "
            "last one the user's."
        )
    size = sum(len(m["content"]) for m in messages)
    if size > LONGEST:
        raise WhenceError(
            f"the conversation has {size:,} characters and the page takes {LONGEST:,}: start over."
        )
    return messages


def _written(
    run: Run, turns: list[dict[str, str]], settings: dict[str, Any], max_tokens: int
) -> _Written:
    """The answer so far, or one that begins."""
    if not 1 <= max_tokens <= MOST_TOKENS:
        raise WhenceError(f"max_tokens is {max_tokens}: give 1 to {MOST_TOKENS:,}.")
    model = stamp(run, step_of(run, "best"))
    said = tuple((m["role"], m["content"]) for m in turns)
    key = (*model, said, *settings.values(), max_tokens)
    if key not in _ANSWERS:
        plain = chat_template(run.tokenizer) is None
        writer = _kept(_WRITERS, model, lambda: _evaluating(run.writer()))
        talk = Chat(run, settings, max_tokens, turns[:-1], plain=plain, writer=writer)
        events = talk.answer(turns[-1]["content"], show_distributions=True)
        return _kept(_ANSWERS, key, lambda: _Written(talk, events))
    return _kept(_ANSWERS, key, lambda: None)


def _kept(kept: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], make: Any) -> Any:
    """What is kept under a key, made where it isn't there; the one asked for longest ago goes."""
    if key not in kept:
        kept[key] = make()
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _evaluating(writer: Any) -> Any:
    """Without dropout for good: answers that are half written would switch it for each other."""
    return writer.eval() if isinstance(writer, nn.Module) else writer


def _go_on(found: _Written, start: int, stop: bool) -> None:
    """Write on until there is something new and the time is up."""
    began = time.monotonic()
    while found.finished is None and not stop:
        if len(found.tokens) > start and time.monotonic() - began > PAUSE:
            return
        try:
            event = next(found.events)
        except BaseException:  # what broke off can't go on: asked again, it begins again
            for key in [key for key, kept in _ANSWERS.items() if kept is found]:
                del _ANSWERS[key]
            raise
        if event.finished is not None:
            found.finished = event.finished
            if event.text and found.tokens:
                found.tokens[-1]["text"] += event.text
            found.events.close()
        else:
            found.tokens.append(_told(found.talk.run, event))
    if stop and found.finished is None:
        found.events.close()
        found.finished = "stopped"


def _told(run: Run, event: Event) -> dict[str, Any]:
    """A token with the likeliest alternatives; P is the model's own, before temperature."""
    assert event.distribution is not None
    assert event.token_id is not None
    p = event.distribution.logits.softmax(-1)
    best = p.topk(min(OTHERS, len(p)))
    others = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return {
        "id": event.token_id,
        "text": event.text,
        "shown": shown(run, event.token_id),
        "p": p[event.token_id].item(),
        "others": [{"id": i, "token": shown(run, i), "p": each} for i, each in others],
    }


def _talk(run: Run, turns: list[dict[str, str]], settings: dict[str, Any], max_tokens: int) -> str:
    plain = ", plain=True" if chat_template(run.tokenizer) is None else ""
    return (
        "from whence import Run; from whence.interop.talk.chat import Chat; "
        f"talk = Chat(Run.open({python_path(run.path)}), {settings!r}, {max_tokens}, "
        f"{turns[:-1]!r}{plain})"
    )


def _copies(
    run: Run, turns: list[dict[str, str]], settings: dict[str, Any], max_tokens: int
) -> dict[str, str]:
    """The line of Python and the command that give the same."""
    plain = chat_template(run.tokenizer) is None
    said = turns[-1]["content"] if turns else "" if plain else "Hi"
    flags = "".join(
        f" --{name.replace('_', '-')} {value}"
        for name, value in {**settings, "max_tokens": max_tokens}.items()
        if value is not None
    )
    place = shell_word(run.path)
    if plain:
        text = "".join(m["content"] for m in turns) or said
        shell = f"whence generate {place} {shell_word(text)}{flags}"
    else:  # each line is a turn, so a text of several can't be given to it
        lines = [m["content"].strip() for m in turns if m["role"] == "user"]
        whole = lines and not any("\n" in line for line in lines)
        given = f"printf '%s\\n' {' '.join(map(shell_word, lines))} | " if whole else ""
        shell = f"{given}whence chat {place}{flags}"
    python = f'{_talk(run, turns, settings, max_tokens)}; print("".join(talk.say({said!r})))'
    return {"python": python, "shell": shell}
