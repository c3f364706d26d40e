"""`whence classify`: text in classes by its words, or images of digits."""

import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from whence.cli.confusion import say_confusion
from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.words import RateOrNone
from whence.errors import WhenceError
from whence.play.mail import read_folder
from whence.play.messages import MESSAGES
from whence.play.words import (
    Labelled,
    WordClassifier,
    classification_loss,
    confusion,
    read_labelled,
)
from whence.scalar import Adam
from whence.train.loop import train


def classify(
    what: tyro.conf.Positional[str] = "spam",
    *,
    steps: int | None = None,
    learning_rate: RateOrNone = None,
    decay: float = 0.01,
    hidden: tuple[int, ...] = (32,),
    ask: str | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Learn to tell classes apart, then show the mistakes and the weights that decided.

    Args:
        what: spam (60 messages written for this), code (examples or prose in Python's reference),
            chapters (which part of that reference a sentence is from), images (scikit-learn's
            handwritten digits), a file with lines of label, tab, text, a folder of mail with a
            subfolder or a mailbox for each class, such as ham and spam, or the folder of a run of
            `whence train FILE --model encoder`.
        steps: how many steps of Adam (100 for text; 1,500 for images).
        learning_rate: their length (0.1 for text; 0.003 for images).
        decay: how strongly the weights of words are held near 0.
        hidden: for images, the units of each hidden layer.
        ask: a text of your own to put in a class.
        seed: which quarter is held out, and for images the starting weights.
        json: print one JSON object.
    """
    if (steps is not None and steps < 1) or (learning_rate is not None and not learning_rate > 0):
        raise WhenceError("Training needs one step or more and a learning rate above 0.")
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    if (Path(what) / "run.toml").is_file():
        from whence.cli.classify_run import classify_by_run

        record = classify_by_run(Path(what), ask, say)
    elif what == "images":
        from whence.cli.classify_images import images

        record = images(hidden, steps or 1500, learning_rate or 0.003, seed, say)
    else:
        record = _text(_lines(what), steps or 100, learning_rate or 0.1, decay, ask, seed, say)
    if json:
        print(strict({"schema": 1, **record}))


def _lines(what: str) -> list[Labelled]:
    if what == "spam":
        return MESSAGES
    if what in ("code", "chapters"):
        return _reference(what)
    if not Path(what).exists():
        raise WhenceError(
            f"{what!r} is no file or folder; give one, or one of spam, code, chapters and images."
        )
    return read_folder(what) if Path(what).is_dir() else read_labelled(what)


def _reference(what: str) -> list[Labelled]:
    """Return labelled lines of the language reference that is part of every Python."""
    from pydoc_data.topics import topics

    if what == "chapters":
        names = ("formatstrings", "import", "naming", "specialnames", "try")
        return [
            Labelled(name, sentence)
            for name in names
            if name in topics
            for sentence in re.split(r"(?<=\.)\s+", " ".join(topics[name].split()))
            if 30 < len(sentence) < 300
        ]
    found = []
    for _, text in sorted(topics.items()):
        paragraphs = [p for p in text.split("\n\n") if p.strip()]
        for before, block in itertools.pairwise(paragraphs):
            # The reference indents its examples, after a paragraph that ends with a colon.
            if before.rstrip().endswith(":") and block.startswith("   "):
                label = "code"
            elif not block.startswith(" ") and len(block) > 60:
                label = "prose"
            else:
                continue
            found.append(Labelled(label, " ".join(block.split())[:200]))
    code = [line for line in found if line.label == "code"]
    prose = random.Random(0).sample([x for x in found if x.label == "prose"], k=len(code))
    return code + prose


def _text(
    lines: Sequence[Labelled],
    steps: int,
    rate: float,
    decay: float,
    ask: str | None,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    shuffled = random.Random(seed).sample(list(lines), k=len(lines))
    cut = len(shuffled) // 4
    held_out, learned = shuffled[:cut], shuffled[cut:]
    model = WordClassifier(learned)
    missing = {line.label for line in held_out} - set(model.labels)
    if len(model.labels) < 2 or missing:
        raise WhenceError("A class has too few lines to learn from: give more of each.")
    parameters = model.parameters()
    kind = "binary" if len(model.labels) == 2 else "softmax"
    say(
        f"{len(learned)} lines to learn from, {len(held_out)} held out, classes "
        f"{', '.join(model.labels)}, {len(model.vocabulary)} words, {len(parameters)} parameters, "
        f"{kind} cross-entropy" + (f" and a penalty of {decay:g}/2 · Σ weight²" if decay else "")
    )
    losses: list[float] = []
    shown = {0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, steps}
    moments = [_moment(model, learned, decay, 0, say)]
    optimizer = Adam(parameters, rate)
    batches = _Whole(learned)
    for step, loss in train(model, batches, classification_loss(decay), optimizer, range(steps)):
        losses.append(loss.data)
        if step + 1 in shown:
            moments.append(_moment(model, learned, decay, step + 1, say))
    answers = [(line, model.probabilities(line.text)) for line in held_out]
    said = [model.labels[max(range(len(p)), key=p.__getitem__)] for _, p in answers]
    table = confusion([line.label for line in held_out], said, model.labels)
    right = sum(line.label == s for line, s in zip(held_out, said, strict=True))
    say(f"\nheld out: {right} of {len(held_out)} right")
    say_confusion(table, model.labels, say)
    wrong = sorted(
        ((max(p), line, s) for (line, p), s in zip(answers, said, strict=True) if line.label != s),
        key=lambda item: -item[0],
    )
    say("\nthe most confident mistakes" if wrong else "\nno mistakes")
    for p, line, s in wrong[:3]:
        say(f"  {s} with probability {p:.3f}, in truth {line.label}: {_short(line.text)}")
        for row in model.why(line.text, s).lines(5):
            say(f"    {row}")
    say("\nthe weights that decide")
    deciding = _deciding(model)
    for label, weights in deciding.items():
        say(f"  {label}: " + ", ".join(f"{word} {w:+.2f}" for word, w in weights))
    record: dict[str, Any] = {
        "labels": model.labels,
        "losses": losses,
        "moments": moments,
        "held_out": len(held_out),
        "right": right,
        "confusion": table,
        "mistakes": [
            {"text": line.text, "label": line.label, "said": s, "probability": p}
            for p, line, s in wrong
        ],
        "weights": deciding,
    }
    if ask is not None:
        p = model.probabilities(ask)
        best = max(range(len(p)), key=p.__getitem__)
        say(f"\n{ask!r} is {model.labels[best]} with probability {p[best]:.3f}")
        receipt = model.why(ask, model.labels[best])
        for row in receipt.lines(10):
            say(f"  {row}")
        record["asked"] = {"text": ask, "said": model.labels[best], "probability": p[best]}
        record["receipt"] = receipt.to_dict()
    return record


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


class _Whole:
    """All lines as one batch, at every step."""

    def __init__(self, lines: Sequence[Labelled]) -> None:
        self.lines = lines

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        return [(1.0, self.lines)]


def _moment(
    model: WordClassifier,
    lines: Sequence[Labelled],
    decay: float,
    step: int,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Measure the model as it is after some steps, every number of the same weights."""
    surprises, right = [], 0
    for line in lines:
        p, truth = model.probabilities(line.text), model.labels.index(line.label)
        surprises.append(-math.log(max(p[truth], 5e-324)))
        right += max(range(len(p)), key=p.__getitem__) == truth
    entropy, accuracy = math.fsum(surprises) / len(lines), right / len(lines)
    squares = math.fsum(w.data**2 for weights in model.weights for w in weights.values())
    loss = entropy + decay / 2.0 * squares
    penalised = f"  with the penalty {loss:.5f}" if decay else ""
    say(f"after {step:>5} steps  cross-entropy {entropy:.5f}{penalised}  accuracy {accuracy:.3f}")
    return {"step": step, "cross_entropy": entropy, "loss": loss, "accuracy": accuracy}


def _deciding(model: WordClassifier, n: int = 8) -> dict[str, list[tuple[str, float]]]:
    """Return the words that speak most for each label."""
    if len(model.labels) > 2:
        return {
            label: sorted(((w, v.data) for w, v in weights.items()), key=lambda x: -x[1])[:n]
            for label, weights in zip(model.labels, model.weights, strict=True)
        }
    by_size = sorted(((w, v.data) for w, v in model.weights[0].items()), key=lambda x: x[1])
    return {model.labels[0]: by_size[:n], model.labels[1]: by_size[::-1][:n]}
