"""What could come next: every number on the way from a token's logit to its being drawn."""

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import torch

from whence.errors import WhenceError, shell_word
from whence.generate import Distribution, Sampling, stream
from whence.generate.generate import encode_prompt
from whence.generate.inference import evaluating
from whence.generate.reader import LanguageModel, Reader
from whence.generate.sampling import filter_logits, pick
from whence.models.seq2seq.config import ClassifierConfig, Seq2SeqConfig
from whence.runs.run import Run
from whence.runs.trained import step_of
from whence.studio.answers.inside.traces import stamp
from whence.studio.answers.place import COMPUTING, open_run, python_path

LONGEST, MOST = 2_000, 500  # characters of a prompt, tokens written on
_KEPT = 3
_MODELS: OrderedDict[tuple, LanguageModel] = OrderedDict()


def prediction(
    folder: Path,
    *,
    run: str,
    prompt: str = "",
    at: int | str = "best",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
    written: int = 0,
    position: int | None = None,
    top: int = 20,
) -> dict[str, Any]:
    """Say what a model expects next, and what the next token is drawn from.

    Args:
        folder: the folder of runs.
        run: the run's name.
        prompt: the text so far; of an encoder–decoder the source, a tab, and the target so far.
        at: `best`, `last` or a step, which is replayed where it isn't saved.
        temperature: as of `whence.generate.Sampling`, as top_k, top_p and min_p.
        top_k: keep the k likeliest.
        top_p: keep the likeliest that add up to p.
        min_p: drop those less likely than min_p times the likeliest.
        seed: of the draws.
        written: how many tokens were drawn and appended before this one.
        position: how many of the prompt's tokens are read; none: all, and those written.
        top: how many of the likeliest tokens are listed.
    """
    opened = open_run(folder, run)
    if isinstance(opened.recipe.model, ClassifierConfig):
        raise WhenceError(
            f"{run} is a classifier and generates no text: ask it with 'whence classify "
            f"{shell_word(opened.path)} --ask TEXT'."
        )
    step = _step(opened, at)
    sampling = Sampling(temperature, top_k, top_p, min_p)
    if len(prompt) > LONGEST or not 0 <= written <= MOST or not 0 <= seed < 2**63:
        raise WhenceError(
            f"give a prompt of at most {LONGEST:,} characters, at most {MOST} generated tokens, "
            "and a seed from 0 to 2^63 − 1."
        )
    noted = ""
    if isinstance(opened.recipe.model, Seq2SeqConfig) and "\t" not in prompt:
        prompt, noted = prompt + "\t", "This model reads its input up to a tab, so a tab was added."
    with COMPUTING:
        ids, drawn, found, target = _asked(opened, step, prompt, sampling, seed, written, position)
    tokenizer, read = opened.tokenizer, len(ids) if position is None else position
    order = found.top(max(1, min(top, 500)))
    if target is not None and all(c.token_id != target for c in order):
        order.append(found.candidate(target))
    model = found.logits.softmax(-1)
    before, after = found.others(order)
    rows = [
        {
            "id": c.token_id,
            "token": shown(opened, c.token_id),
            **vars(c),
            "p": model[c.token_id].item(),
            **_taught(model[c.token_id].item(), c.token_id, target),
        }
        for c in order
    ]
    count = len(found.logits)
    text = tokenizer.decode(ids[:read])
    return {
        "run": run,
        "step": step,
        "checkpoints": opened.checkpoints,
        "prompt": prompt,
        "pairs": isinstance(opened.recipe.model, Seq2SeqConfig),
        "window": opened.recipe.model.context_length,
        "tokens": [{"id": i, "text": shown(opened, i), "written": n >= len(ids) - len(drawn)}
                   for n, i in enumerate(ids)],
        "text": tokenizer.decode(ids),
        "read": read,
        "drawn": shown(opened, found.drawn),
        "drawn_id": found.drawn,
        "target": target,
        "surprise": None if target is None else -math.log(max(model[target].item(), 1e-300)),
        "vocabulary": count,
        "rows": rows,
        "others": {
            "count": count - len(rows),
            "p": _rest(model, order),
            "before": max(0.0, before),
            "after": max(0.0, after),
        },
        "kept": int((found.after > 0).sum()),
        "exp_sum": (found.scaled - found.scaled.max()).exp().sum().item(),
        "noted": noted,
        "sampling": {**vars(sampling), "seed": seed, "written": written},
        "flow_text": text,
        "trace_text": text + tokenizer.decode([found.drawn if target is None else target]),
        **_copies(opened, step, text if target is not None else prompt, sampling, seed,
                  written if target is None else 0, top),
    }  # fmt: skip


def _asked(
    run: Run,
    step: int,
    prompt: str,
    sampling: Sampling,
    seed: int,
    written: int,
    position: int | None,
) -> tuple[list[int], list[int], Distribution, int | None]:
    """The tokens, those of them that were drawn, what the next one is drawn from, its target."""
    model, tokenizer = _model(run, step), run.tokenizer
    ids = encode_prompt(tokenizer, prompt)
    given, drawn, found = len(ids), [], None
    events = stream(
        model, tokenizer, prompt, max_tokens=written + 1, seed=seed, show_distributions=True,
        **vars(sampling),
    )  # fmt: skip
    for event in events:
        if event.distribution is not None:
            found = event.distribution
            if event.index == written or (position is not None and given + event.index == position):
                break
            drawn.append(found.drawn)
    assert found is not None
    if position is None:
        return ids + drawn, drawn, found, None
    if not 1 <= position <= given + len(drawn):
        raise WhenceError(f"position is {position}: there are {given + len(drawn)} tokens to read.")
    if position >= given:  # one that was drawn
        return ids + drawn, drawn, found, None
    with evaluating(model):
        logits = Reader(model, torch.tensor([ids[:position]]), position).logits()[0]
    generator = torch.Generator().manual_seed(seed)
    taken = int(pick(filter_logits(logits[None], sampling), sampling, generator))
    return ids, [], Distribution.of(logits, sampling, taken), ids[position]


def _taught(p: float, token: int, target: int | None) -> dict[str, float]:
    """In training: y, and p − y, the derivative of −ln P(target) by this logit."""
    if target is None:
        return {}
    y = float(token == target)
    return {"y": y, "error": p - y}


def _rest(p: torch.Tensor, listed: list) -> float:
    left = torch.ones_like(p, dtype=torch.bool)
    left[[c.token_id for c in listed]] = False
    return p[left].sum().item()


def shown(run: Run, token: int) -> str:
    """A token as text; bytes that are no whole character, or none, as its tokenizer names it."""
    text = run.tokenizer.decode([token])
    return text if text and "\ufffd" not in text else run.tokenizer.token(token)


def _step(run: Run, at: int | str) -> int:
    """The step before which the model is asked for."""
    if at == "best" or at == "last":
        return step_of(run, at)
    if not str(at).isdecimal():
        raise WhenceError(f"at is {at!r}: give best, last or a step.")
    return step_of(run, int(at))


def _model(run: Run, step: int) -> LanguageModel:
    """The model before a step, kept for the next question."""
    key = stamp(run, step)
    if key not in _MODELS:
        _MODELS[key] = cast(LanguageModel, run.model(step))
        while len(_MODELS) > _KEPT:
            _MODELS.popitem(last=False)
    _MODELS.move_to_end(key)
    return _MODELS[key]


def _copies(
    run: Run, step: int, prompt: str, sampling: Sampling, seed: int, written: int, top: int
) -> dict[str, str]:
    """The line of Python and the command that give the same."""
    settings = {k: v for k, v in vars(sampling).items() if v is not None}
    inside = ", ".join(f"{k}={v!r}" for k, v in {**settings, "seed": seed}.items())
    flags = " ".join(
        f"--{k.replace('_', '-')} {v}"
        for k, v in {**settings, "seed": seed, "max_tokens": written + 1, "candidates": top,
                     "checkpoint": step}.items()
    )  # fmt: skip
    place = python_path(run.path)
    return {
        "python": "from whence import Run; from whence.generate import stream; "
        f"list(stream(Run.open({place}).model({step}), Run.open({place}).tokenizer, "
        f"{prompt!r}, {inside}, max_tokens={written + 1}, show_distributions=True))"
        f"[{written}].distribution",
        "shell": f"whence generate {shell_word(run.path)} {shell_word(prompt)} "
        f"--show-probabilities {flags}",
    }
