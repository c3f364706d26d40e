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
from whence.scale.weights import Weights

if TYPE_CHECKING:
    from whence.interop.talk.chat import Chat

HELP = """/why [N]            what made token N of the last answer likely (-1: the last one)
/tokens             the last answer, token by token, numbered
/system TEXT        begin again, telling the model who it is
/reset              begin again
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
    weights: Weights = "fp32",
) -> None:
    """Talk to a model that was trained to talk, such as an imported one.

    Each line is a turn; `/help` lists the commands. Ctrl-C ends an answer, Ctrl-D the conversation.
    Without a terminal it reads the turns from standard input.

    Args:
        run: the run's folder, such as runs/smollm-1.
        system: instructions that the model reads before the conversation.
        temperature: 0 always takes the likeliest token; without it, what the model's makers advise.
        top_p: draw only from the fewest tokens that together have probability p.
        top_k: draw only from the k most likely tokens.
        seed: chooses the draws.
        max_tokens: the longest answer.
        weights: how the model's weights are stored; fewer bits are faster and less exact.
    """
    from whence.interop.talk.chat import Chat

    opened = Run.open(run)
    made = {k: v for k, v in advised(opened.tokenizer).items() if k in ("top_p", "top_k", "min_p")}
    settings = {**made, "temperature": advised(opened.tokenizer).get("temperature", 0.7)}
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed}
    settings |= {name: value for name, value in given.items() if value is not None}
    talk = Chat(opened, settings, max_tokens, weights=weights)
    if system is not None:
        talk.system(system)
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"{run}: say something; /help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            line = input("> " if interactive else "")
            if not line.strip():
                continue
            if line.strip() in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                command(talk, line)
            else:
                answer(talk, line)
        except EOFError:
            return
        except KeyboardInterrupt:  # meant for an answer that had just ended, or for a command
            if not interactive:
                raise
            print("\nCtrl-D leaves.")
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
    """Run a command that begins with a slash.

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
    """Print what made a token of the last answer likely: layers, heads, and the words they read."""
    from whence.interop.talk.spoken import speakers

    before, token, found = talk.why(int(number))
    show = talk.run.tokenizer.token
    console = Console(soft_wrap=True)
    assert talk.last is not None
    if rounded := talk.last.rounded():
        console.print(rounded)
    console.print(f"{show(token)!r} has the logit {found.logit:.4f}, the sum of")
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = speakers(found, [show(i) for i in before])
    for share, who in rows[:12]:
        table.add_row(f"{share:+.4f}", who)
    rest = sum(share for share, _ in rows[12:])
    table.add_row(f"{rest:+.4f}", f"{len(rows) - 12} more" if len(rows) > 12 else "nothing more")
    table.add_row(f"{found.logit - found.total:+.1e}", "rounding")
    console.print(table)
    at = len(before) - len(talk.last.prompt) + 1
    path = shell_word(talk.run.path)
    console.print(f"all of it:  whence why {path} --answer {talk.last.id} --token {at}")
