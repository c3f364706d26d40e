"""The model left to right: what each module made of each token, a block or a head opened."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.data.batches import NOT_COUNTED
from whence.errors import WhenceError
from whence.models.ngram.config import NGramConfig
from whence.models.seq2seq.config import ClassifierConfig
from whence.runs.tasks.pairs import Pairs
from whence.studio.answers.inside.attention import attention
from whence.studio.answers.inside.gates import gates, over_time
from whence.studio.answers.inside.names import in_order, under
from whence.studio.answers.inside.tiles import TOKENS, WIDE, ribbon
from whence.studio.answers.inside.traces import Asked
from whence.studio.answers.place import open_run
from whence.studio.answers.training.strip import first_words
from whence.why import Numbers, Trace
from whence.why.recording.storage import Ref

LIKELIEST, INSIDE = 3, 24
COLOURS = ("q", "k", "v")
LOSSES = ("nll_loss_forward", "nll_loss_nd", "nll_loss2d_forward")
COPIES = ("to_copy", "clone", "copy", "detach")


def flow(
    folder: Path,
    *,
    run: str,
    step: int | None = None,
    text: str = "",
    example: int = 0,
    open: str = "",
    head: int = 0,
    backward: bool = False,
) -> dict[str, Any]:
    """Show what each module of a model made of each token of an example.

    Without a step and a text it begins with one short sentence of the validation text, as the model
    reads it now.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: from 0 to the last one done; none: that.
        text: instead of the step's batch, let the model of that step read this text.
        example: which example of the batch.
        open: a module to look into, such as `blocks.0`.
        head: which attention head, where there is one inside.
        backward: show the gradient of the loss by each number in its place.
    """
    if step is None and not text:
        text = _sentence(folder, run)
        step = _end(folder, run) if text else None
    asked = Asked(folder, run, step, text)
    with asked.opened() as t:
        examples = sum(part.layouts.examples for part in t.labels.parts) or 1
        if not 0 <= example < examples:
            raise WhenceError(f"example is {example}: the step has 0 to {examples - 1}.")
        stages = _stages(t)
        paths = [name.partition("#")[0] for name in stages]
        opens = [path for path in paths if _has_inside(t, path)]
        inside = _inside(t, open, example) if open else []
        if open and not inside:
            raise WhenceError(
                f"{open!r} has no inner values with a row for each token"
                + (f": open {' or '.join(opens)}." if opens else ".")
            )
        shown = [
            {
                "name": name,
                "opens": path in opens,
                "module": _kind(t, path),
                "tile": _cut(t, t[name], example),
            }
            for name, path in zip(stages, paths, strict=True)
        ]
        for stage, stream in zip(shown, _streams(shown), strict=True):
            stage["stream"] = stream
        if backward:
            for each in (*shown, *inside):
                each["tile"] = each["tile"] and _gradient(t, each["tile"], example)
            inside = [each for each in inside if each["tile"]]
        return {
            **asked.head(),
            "example": example,
            "examples": examples,
            "stages": shown,
            "predictions": _predictions(t, stages, example),
            "open": open,
            "backward": backward,
            "window": asked.run.recipe.model.context_length,
            "inside": inside,
            "attention": attention(t, open, example, head) if open else [],
            "loss": t.loss.value,
            "notes": t.notes,
            "python": asked.python(
                f"[{stages[-1]!r}]{'.grad' if backward else ''}.value" if stages else ""
            ),
            "shell": asked.shell(open, "--list"),
        }


def _end(folder: Path, run: str) -> int:
    """The state behind the last step: what the model is now, and saved where the run has ended."""
    return len(open_run(folder, run).steps)


def _sentence(folder: Path, run: str) -> str:
    """A short text that the model can read; none of a model that reads no plain text."""
    opened = open_run(folder, run)
    config = opened.recipe.model
    if isinstance(config, ClassifierConfig | NGramConfig):
        return ""
    text = first_words(opened)
    if isinstance(opened.task, Pairs):
        return text
    room = max(1, config.context_length * 3 // 4)  # the rest is left to write on in
    return opened.tokenizer.decode(opened.tokenizer.encode(text)[:room].tolist())


def _gradient(t: Trace, tile: dict[str, Any], example: int) -> dict[str, Any] | None:
    """The same tile of the gradients; `None` where none came back."""
    if "names" in tile:  # computed for each token: each has a gradient of its own
        return None
    try:
        cut = _cut(t, t[tile["name"]].grad, example)
    except WhenceError:
        return None
    return cut and {**cut, "row_labels": tile["row_labels"]}


def _cut(t: Trace, numbers: Numbers, example: int) -> dict[str, Any] | None:
    cut = ribbon(t, numbers, example, TOKENS)
    if cut is not None:
        cut["values"] = cut["values"][:, :WIDE]
        cut["column_labels"] = cut["column_labels"] and cut["column_labels"][:WIDE]
    return cut


def _stages(t: Trace) -> list[str]:
    """The outermost modules that returned a tensor with a row for each token, in order."""
    made = in_order(t)
    names = [n for n in made if n.partition("#")[0] in t.live.modules]
    outer = [n for n in names if not any(under(n, m) for m in names)]
    outer = outer or [n for n in made if n.partition("#")[0] == "logits"]
    seen: set[int] = set()
    stages = []
    for name in outer:
        ref = t[name].ref
        key = id(ref.version) if isinstance(ref, Ref) else id(ref)
        if key not in seen and len(ref.size) >= 3:
            stages.append(name)
            seen.add(key)
    return stages


def _has_inside(t: Trace, path: str) -> bool:
    return bool(_inside(t, path, 0))


def _kind(t: Trace, path: str) -> str:
    module = t.live.modules.get(path)
    return "" if module is None else type(module).__name__


def _inside(t: Trace, path: str, example: int) -> list[dict[str, Any]]:
    """What was made inside of a module, a row for each token, in order."""
    rows: list[dict[str, Any]] = []
    seen: set[int] = set()
    steps: dict[str, list[str]] = {}
    for name in in_order(t):
        if not under(name, path):
            continue
        numbers = t[name]
        key = id(numbers.ref.version) if isinstance(numbers.ref, Ref) else id(numbers.ref)
        best = t.name_of(numbers.ref)
        if key in seen or not under(best, path) or _is_step(t, best):
            continue
        if best in t:
            name, numbers = best, t[best]
        cut = _cut(t, numbers, example)
        if cut is None:
            if len(numbers.shape) == 2:
                steps.setdefault(name.partition("#")[0], []).append(name)
            continue
        seen.add(key)
        rows.append({"name": name, "role": _role(name), "tile": cut})
    rows += [r for base, names in steps.items() if (r := over_time(t, base, names, example))]
    return (rows + gates(t, path, example))[:INSIDE]


def _is_step(t: Trace, name: str) -> bool:
    """Whether a name is of a copy, or of a step inside of a norm, which its own view shows."""
    module, _, last = name.partition("#")[0].rpartition(".")
    if last in COPIES:
        return True
    parts = module.split(".")
    above = (".".join(parts[:i]) for i in range(1, len(parts) + 1))
    return any("Norm" in _kind(t, path) or "Dropout" in _kind(t, path) for path in above)


def _role(name: str) -> str:
    """Whether it is a query, a key or a value, by its last word."""
    words = name.partition("#")[0].removesuffix(".local").removesuffix("_norm").split(".")
    return words[-1] if words[-1] in COLOURS else ""


def _predictions(t: Trace, stages: list[str], example: int) -> list[dict[str, Any] | None]:
    """For each row of the last stage the likeliest next tokens, the target, and P(target).

    None where the row is padding, behind which nothing is predicted. A model whose last stage
    isn't its head, such as the MLP, predicts by what is called logits.
    """
    named = [n for n in in_order(t) if n.partition("#")[0] == "logits"]
    size = t[named[-1]].shape[-1] if named else -1
    heads = [n for n in (*stages[-1:], *named[-1:]) if len(t[n].shape) == 3]
    head = next((n for n in heads if t[n].shape[-1] == size), None)
    if head is None or t.labels.decode is None:
        return []
    logits = t[head].ref.tensor()
    counted, targets = _targets(t, min(example, len(logits) - 1), logits.shape[1])
    rows: list[dict[str, Any] | None] = []
    for position, p in enumerate(
        logits[min(example, len(logits) - 1), :TOKENS].float().softmax(-1)
    ):
        if position >= counted:
            rows.append(None)
            continue
        best = p.topk(min(LIKELIEST, len(p)))
        target = targets[position] if position < len(targets) else NOT_COUNTED
        taught = target != NOT_COUNTED
        rows.append(
            {
                "tokens": [t.labels.decode(i) for i in best.indices.tolist()],
                "p": best.values.tolist(),
                "target": t.labels.decode(target) if taught else None,
                "p_target": p[target].item() if taught else None,
            }
        )
    return rows


def _targets(t: Trace, example: int, length: int) -> tuple[int, list[int]]:
    """How many rows of an example predict something, and what each should predict.

    A decoder's rows begin where the first target is: before it, in the source, nothing is
    predicted, and after the last one comes padding.
    """
    found: list[int] = []
    for part in t.labels.parts:
        if example >= part.layouts.examples:
            example -= part.layouts.examples
            continue
        losses = (op for op in t.ops if op.ordinal >= part.first and op.name in LOSSES)
        ref = next((op.args[1] for op in losses if isinstance(op.args[1], Ref)), None)
        if ref is not None and ref.numel % part.layouts.examples == 0:
            each = ref.numel // part.layouts.examples
            found = ref.gather(example * each + np.arange(each)).astype(int).tolist()
        break
    if len(found) <= length:
        return length, found
    counted = [i for i, target in enumerate(found) if target != NOT_COUNTED]
    if not counted:
        return 0, []
    return len(counted), found[counted[0] : counted[-1] + 1]


def _streams(stages: list[dict[str, Any]]) -> list[int]:
    """Number the texts that the stages' rows are tokens of: an encoder–decoder has two."""
    known: list[Any] = []
    numbers = []
    for stage in stages:
        tokens = stage["tile"] and (stage["tile"]["row_labels"], stage["tile"]["rows"])
        if tokens is not None and (not known or known[-1] != tokens):
            known.append(tokens)
        numbers.append(max(0, len(known) - 1))
    return numbers
