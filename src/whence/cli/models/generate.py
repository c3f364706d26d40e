"""`whence generate`: let a trained model write."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table
from rich.text import Text

from whence.cli.document import strict
from whence.cli.models.evaluate import which
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.scale.weights import Weights

if TYPE_CHECKING:
    from whence.generate import Distribution, Event
    from whence.generate.pairs import Hypothesis


def generate(
    run: Annotated[Path, tyro.conf.Positional],
    prompt: Annotated[str, tyro.conf.Positional] = "",
    /,
    *,
    max_tokens: int = 300,
    temperature: float = 0.8,
    greedy: bool = False,
    beam: int | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    samples: int = 1,
    stream: bool = sys.stdout.isatty(),
    show_probabilities: bool = False,
    candidates: int = 5,
    checkpoint: str = "best",
    weights: Weights = "fp32",
    json: bool = False,
) -> None:
    r"""Continue a prompt with a trained model.

    The same seed gives the same text. Only the text goes to standard output, so it can be piped.

    Args:
        run: the run's folder, such as runs/topics-1.
        prompt: the text to continue; `-` reads it from standard input.
        max_tokens: how many tokens to write.
        temperature: below 1 favours likely tokens more, above 1 less.
        greedy: always take the most likely token (the same as temperature 0).
        beam: search for the likeliest continuation, keeping this many beginnings at each token,
            as is usual for pairs (`--model seq2seq`).
        top_k: draw only from the k most likely tokens.
        top_p: draw only from the fewest tokens that together have probability p.
        min_p: draw only from tokens at least p times as likely as the likeliest.
        seed: chooses the draws.
        stop: stop before this string (may be given several times); `\n` stands for a new line.
        samples: how many texts to write.
        stream: print each token as it is drawn; by default on a terminal.
        show_probabilities: print for each token what it was drawn from, before and after filtering.
        candidates: how many of the likeliest tokens --show-probabilities prints.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        weights: how the model's weights are stored; fewer bits are faster and less exact.
        json: print JSON.
    """
    if candidates < 1:
        raise WhenceError(f"--candidates is {candidates}: give 1 or more.")
    opened = Run.open(run)
    if prompt == "-":
        prompt = sys.stdin.read()
    if beam is not None:
        drawing = {"--top-k": top_k, "--top-p": top_p, "--min-p": min_p, "--greedy": greedy or None}
        drawing |= {"--samples": samples if samples > 1 else None, "--stop": stop or None}
        for flag, value in drawing.items():
            if value is not None:
                raise WhenceError(f"--beam searches and doesn't sample: leave out {flag}.")
        best = opened.search(prompt, beam, at=which(opened, checkpoint), max_tokens=max_tokens)
        _print_beam(best, opened, prompt, show_probabilities, json)
        return
    events = _events(
        opened,
        which(opened, checkpoint),
        prompt,
        max_tokens=max_tokens,
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        stop=tuple(s.replace("\\n", "\n") for s in stop),
        n_samples=samples,
        show_distributions=show_probabilities,
        weights=weights,
    )
    if show_probabilities and not json:
        _print_probabilities(events, opened, prompt, candidates)
    elif not json and samples == 1 and stream:
        print(_shown_before(opened, prompt), end="", flush=True)
        for event in events:
            print(event.text, end="", flush=True)
        print()
    else:
        _print_whole(list(events), opened, prompt, samples, candidates, json)


def _shown_before(run: Run, prompt: str) -> str:
    """What is shown before a generated text: its prompt, but not the source of a pair."""
    return prompt if run.task.is_prose else ""


def _print_beam(
    found: list[Hypothesis], run: Run, prompt: str, show_probabilities: bool, as_json: bool
) -> None:
    texts = [run.tokenizer.decode(list(h.tokens)) for h in found]
    if as_json:
        rows = [
            {"text": text, "log_probability": h.log_probability, "score": h.score}
            for text, h in zip(texts, found, strict=True)
        ]
        document = {"schema": 1, "run": str(run.path), "prompt": prompt, "hypotheses": rows}
        print(strict(document))
        return
    print(texts[0])
    if show_probabilities:
        table = Table(box=None, pad_edge=False)
        for name in ("answer", "ln P", "P", "score"):
            table.add_column(name, justify="left" if name == "answer" else "right")
        for text, h in zip(texts, found, strict=True):
            p = math.exp(h.log_probability)
            table.add_row(text, f"{h.log_probability:.4f}", f"{p:.4g}", f"{h.score:.4f}")
        Console(soft_wrap=True).print(table)


def _events(run: Run, checkpoint, prompt: str, **settings):
    return run.stream(prompt, at=checkpoint, **settings)


def _print_whole(
    events: list[Event], run: Run, prompt: str, samples: int, candidates: int, as_json: bool
) -> None:
    texts = ["".join(e.text for e in events if e.sample == i) for i in range(samples)]
    if not as_json:
        before = _shown_before(run, prompt)
        print(("\n" + "─" * 40 + "\n").join(before + text for text in texts))
        return
    records = []
    for i, text in enumerate(texts):
        own = [e for e in events if e.sample == i]
        record: dict = {"text": text, "finished": own[-1].finished}
        drawn = [e for e in own if e.distribution is not None]
        if drawn:
            record["tokens"] = [_token_record(e, run, candidates) for e in drawn]
        records.append(record)
    document = {"schema": 1, "run": str(run.path), "prompt": prompt, "samples": records}
    print(strict(document))


def _token_record(event: Event, run: Run, candidates: int) -> dict:
    assert event.distribution is not None  # asked for
    rows = []
    for c in event.distribution.top(candidates):
        row = {"token": run.tokenizer.token(c.token_id), **vars(c)}
        rows.append({k: (v if v != -math.inf else None) for k, v in row.items()})
    return {"token_id": event.token_id, "index": event.index, "candidates": rows}


def _print_probabilities(events, run: Run, prompt: str, candidates: int) -> None:
    console = Console(soft_wrap=True)
    texts: dict[int, str] = {}
    for event in events:
        if event.distribution is not None:
            many = f"sample {event.sample}, " if event.sample else ""
            so_far = (prompt + texts.get(event.sample, ""))[-40:]
            after = f"\n{many}token {event.index} after "
            console.print(Text.assemble(after, (repr(so_far), "dim")))
            console.print(_table(event.distribution, run, candidates))
        texts[event.sample] = texts.get(event.sample, "") + event.text
    for text in texts.values():
        console.print(f"\n{prompt}{text}")


def _table(distribution: Distribution, run: Run, candidates: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("token")
    for name in ("logit", "÷ temperature", "exp", "P before", "P after", "dropped by"):
        table.add_column(name, justify="right")
    rows = distribution.top(candidates)
    for c in rows:
        table.add_row(
            "→" if c.drawn else "",
            repr(run.tokenizer.token(c.token_id)),
            f"{c.logit:.4g}",
            f"{c.scaled:.4g}",
            f"{c.exp:.4g}",
            f"{c.before:.4g}",
            f"{c.after:.4g}",
            c.dropped_by or "",
        )
    others = len(distribution.before) - len(rows)
    if others > 0:
        before, after = distribution.others(rows)
        table.add_row(
            "",
            f"{others:,} others",
            "",
            "",
            "",
            f"{max(0, before):.4g}",
            f"{max(0, after):.4g}",
            "",
        )
    return table
