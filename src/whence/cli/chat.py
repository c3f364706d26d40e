"""`whence chat`: talk to a model in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from whence.cli.terminal import Console
from whence.errors import WhenceError, shell_word
from whence.interop.tokenizers_out import advised
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.interop.chat import Chat
    from whence.interop.spoken import Spoken

HELP = """/why [N]            what spoke for token N of the last answer (-1: the last one)
/tokens             the last answer, token by token, numbered
/system TEXT        begin anew, telling the model who it is
/reset              begin anew
/temperature X      how freely it draws; 0: always the likeliest token
/top-p X, /top-k N  draw from the likeliest tokens only; 'off' for all
/seed N             chooses the draws
/max-tokens N       the longest answer
/quit               leave (Ctrl-D)"""


def chat(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    system: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
    max_tokens: int = 512,
) -> None:
    """Talk to a model that was trained to talk, such as an imported one.

    Each line is a turn; `/help` lists the commands. Ctrl-C ends an answer. Without a terminal
    it reads the turns from standard input.

    Args:
        run: the run's folder, such as runs/smollm-1.
        system: instructions that the model reads before the conversation.
        temperature: 0 always takes the likeliest token; without it, what the model's makers advise.
        top_p: draw only from the fewest tokens that together have probability p.
        top_k: draw only from the k most likely tokens.
        seed: chooses the draws.
        max_tokens: the longest answer.
    """
    from whence.interop.chat import Chat

    opened = Run.open(run)
    made = {k: v for k, v in advised(opened.tokenizer).items() if k in ("top_p", "top_k", "min_p")}
    settings = {**made, "temperature": advised(opened.tokenizer).get("temperature", 0.7)}
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed}
    settings |= {name: value for name, value in given.items() if value is not None}
    talk = Chat(opened, settings, max_tokens)
    if system is not None:
        talk.system(system)
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"{run}: say something; /help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            line = input("> " if interactive else "")
        except EOFError:
            return
        if not line.strip():
            continue
        if line.strip() in ("/quit", "/exit"):
            return
        try:
            if line.startswith("/"):
                command(talk, line)
            else:
                answer(talk, line)
        except WhenceError as error:
            if not interactive:
                raise
            print(f"whence: {error}", file=sys.stderr)


def answer(talk: Chat, text: str) -> None:
    """Print an answer as it is written; Ctrl-C ends it."""
    pieces = talk.say(text)
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        pieces.close()  # pyright: ignore[reportAttributeAccessIssue]  # it is a generator
    print()


def command(talk: Chat, line: str) -> None:
    """Do what a line that begins with a slash says.

    Raises:
        WhenceError: for an unknown command or a value that doesn't fit.
    """
    name, _, value = line[1:].strip().partition(" ")
    value = value.strip()
    numbers: dict[str, tuple[str, Callable[[str], float]]] = {
        "temperature": ("temperature", float), "top-p": ("top_p", float), "top-k": ("top_k", int),
        "seed": ("seed", int),
    }  # fmt: skip
    if name == "help":
        print(HELP)
    elif name == "reset":
        talk.reset()
    elif name == "system":
        talk.system(value)
    elif name == "tokens":
        show_tokens(talk)
    elif name == "why":
        show_why(talk, _number(value or "1", int))
    elif name == "max-tokens":
        talk.max_tokens = int(_number(value, int))
    elif name in numbers:
        setting, kind = numbers[name]
        off = value == "off" and name in ("top-p", "top-k")
        talk.settings[setting] = None if off else _number(value, kind)
    else:
        raise WhenceError(f"/{name} isn't a command: /help lists them.")


def _number(text: str, kind: Callable[[str], float]) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise WhenceError(f"{text!r} isn't a number.") from error


def show_tokens(talk: Chat) -> None:
    """Print the last answer's tokens with their numbers."""
    if talk.last is None:
        raise WhenceError("there is no answer yet: say something first.")
    show = talk.run.tokenizer.token
    print("  ".join(f"{n} {show(i)!r}" for n, i in enumerate(talk.last.written, start=1)))


def show_why(talk: Chat, number: float) -> None:
    """Print what spoke for a token of the last answer: layers, heads, and the words they read."""
    before, token, found = talk.why(int(number))
    show = talk.run.tokenizer.token
    console = Console(soft_wrap=True)
    console.print(f"{show(token)!r} has the logit {found.logit:.4f}, the sum of")
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = speakers(found, [show(i) for i in before])
    for share, who in rows[:12]:
        table.add_row(f"{share:+.4f}", who)
    rest = sum(share for share, _ in rows[12:])
    table.add_row(f"{rest:+.4f}", f"{len(rows) - 12} more" if len(rows) > 12 else "nothing more")
    table.add_row(f"{found.logit - found.total:+.1e}", "rounding")
    console.print(table)
    assert talk.last is not None
    at = len(before) - len(talk.last.prompt) + 1
    path = shell_word(talk.run.path)
    console.print(f"all of it:  whence why {path} --answer {talk.last.id} --token {at}")


def speakers(found: Spoken, tokens: list[str]) -> list[tuple[float, str]]:
    """The shares of a logit with who they are of, the largest first."""
    rows = [(found.embedding, f"the embedding of {tokens[-1]!r}")]
    if found.rest:
        rows.append((found.rest, "biases"))
    for layer, share in enumerate(found.feed_forward.tolist()):
        rows.append((share, f"layer {layer}, feed-forward"))
    for layer, heads in enumerate(found.heads.sum(-1).tolist()):
        for head, share in enumerate(heads):
            read = found.heads[layer, head]
            first = read.abs().topk(min(2, len(tokens))).indices.tolist()
            words = ", ".join(f"{tokens[i]!r} {read[i].item():+.3f}" for i in first)
            rows.append((share, f"layer {layer}, head {head}: reading {words}"))
    return sorted(rows, key=lambda row: -abs(row[0]))
