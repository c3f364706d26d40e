"""A run's report: which views are in it, and what is shown where scripts are off."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.models import MODELS
from whence.runs.recipe import kind_of
from whence.runs.run import Run
from whence.runs.settings import flat
from whence.studio.answers import answer
from whence.studio.answers.place import origin_of
from whence.studio.still import Shown, Still
from whence.visible import escape

ROWS = 25


def report(run: Run | Path, prompt: str = "", step: int | None = None) -> Still:
    """Return a run's report.

    Args:
        run: the run; of a watched loop, its folder.
        prompt: what the prediction table goes on from.
        step: the step whose flow and receipts are shown; none: the last one.

    Raises:
        WhenceError: where there is nothing to report on.
    """
    path = run.path if isinstance(run, Run) else run
    folder, name = path.parent, path.name
    which = {} if step is None else {"step": step}
    live = Shown("live", {"run": name}, _plain(answer("live", {"run": name}, folder)))
    live.more = _known([("strip", {"run": name, "text": ""})], folder)
    given = {"prompt": prompt} if prompt else {}
    shown = [live, Shown("prediction", {"run": name, **given})]
    shown += [Shown(view, {"run": name, **which}) for view in ("flow", "cell", "receipt")]
    kept = [each for each in shown if each is live or _known([(each.view, each.params)], folder)]
    for each in kept:
        if each.view == "receipt":
            target = answer("receipt", each.params, folder).get("target")
            asked = {**each.params, "address": target, "by": "token"}
            each.more = _known([("attribution", asked)], folder) if target else []
    return Still(folder, kept, f"{name} · Whence", _head(run) if isinstance(run, Run) else "")


def _head(run: Run) -> str:
    """What is above the views: which run this is, and its recipe."""
    rows = list(flat(run.recipe.to_dict()).items())
    made = run.created[:10]
    origin = origin_of(run)
    return (
        f'<header class="report-head"><p class="label">Whence run report</p>'
        f"<p>{escape(kind_of(run.recipe.model, MODELS))} on "
        f"{escape(', '.join(run.recipe.data.source))}, created on {escape(made)}"
        f"{'; ' + escape(origin) if origin else ''}. The numbers in this file are from the moment "
        "the report was written, and it loads nothing else. To explore the run, open it with "
        f"<code>{escape('whence studio')}</code>.</p>"
        f"<details class='recipe'><summary>The recipe: {len(rows)} settings</summary>"
        f"{_table(['setting', 'value'], rows)}</details></header>"
    )


def _known(asked: list[tuple[str, dict[str, Any]]], folder: Path) -> list[Any]:
    """The questions that have an answer for this run; a bigram, for one, has no flow."""
    found = []
    for name, params in asked:
        with suppress(WhenceError):
            answer(name, params, folder)
            found.append((name, params))
    return found


def _plain(live: dict[str, Any]) -> str:
    """The run's figures as tables."""
    curve = live["curves"]["loss"]
    every = max(1, len(curve["step"]) // ROWS)
    losses = list(zip(curve["step"].tolist(), curve["value"].tolist(), strict=True))[::every]
    held = live["curves"]["validation"]
    tests = list(zip(held["step"].tolist(), held["value"].tolist(), strict=True))
    best = live["best"] or {}
    facts = [
        ("model", live["model"]),
        ("text", live["text"]),
        ("steps", f"{live['done']:,} of {live['steps']:,}"),
        *((key, best[key]) for key in ("loss", "bits_per_byte") if key in best),
    ]
    samples = "".join(
        f"<h3>Sample at step {sample['step']:,}</h3><pre>{escape(str(sample['text']))}</pre>"
        for sample in live["samples"][-3:]
    )
    return (
        f"<h1>{escape(live['run'])}</h1>{_table(['', ''], facts)}"
        f"<h2>Training loss</h2>{_table(['step', 'loss'], losses)}"
        f"<h2>Validation loss</h2>{_table(['step', 'loss'], tests)}{samples}"
    )


def _table(heads: list[str], rows: Any) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(x))}</td>" for x in row) + "</tr>" for row in rows
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"


def _cell(x: Any) -> str:
    return f"{x:.6g}" if isinstance(x, float) else f"{x}"
