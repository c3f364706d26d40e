"""`whence classify`: text in classes by its words, or images of digits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from whence.cli.document import strict
from whence.cli.small.classifying.confusion import say_confusion
from whence.cli.terminal import Console
from whence.cli.words import RateOrNone
from whence.errors import WhenceError
from whence.play.texts.classifying import Divided, Measured, best, learn_classes
from whence.play.texts.labelled import labelled


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
        ask: a text of your own to classify.
        seed: which quarter is held out, and for images the starting weights.
        json: print one JSON object.
    """
    if (steps is not None and steps < 1) or (learning_rate is not None and not learning_rate > 0):
        raise WhenceError("Training needs one step or more and a learning rate above 0.")
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    if (Path(what) / "run.toml").is_file():
        from whence.cli.small.classifying.classify_run import classify_by_run

        record = classify_by_run(Path(what), ask, say)
    elif what == "images":
        from whence.cli.small.classifying.classify_images import images

        record = images(hidden, steps or 1500, learning_rate or 0.003, seed, say)
    else:
        data = Divided(labelled(what), seed)
        record = _text(data, steps or 100, learning_rate or 0.1, decay, ask, say)
    if json:
        print(strict({"schema": 1, **record}))


def _text(
    data: Divided,
    steps: int,
    rate: float,
    decay: float,
    ask: str | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    model, held_out = data.model, len(data.held_out)
    kind = "binary" if len(model.labels) == 2 else "softmax"
    say(
        f"{len(data.learned)} lines to learn from, {held_out} held out, classes "
        f"{', '.join(model.labels)}, {len(model.vocabulary)} words, {len(model.parameters())} "
        f"parameters, {kind} cross-entropy"
        + (f" and a penalty of {decay:g}/2 · Σ weight²" if decay else "")
    )

    def tell(m: Measured) -> None:
        more = f"  with the penalty {m.loss:.5f}" if decay else ""
        say(
            f"after {m.step:>5} steps  cross-entropy {m.cross_entropy:.5f}{more}  "
            f"accuracy {m.accuracy:.3f}"
        )

    found = learn_classes(data, steps, rate, decay, tell)
    say(f"\nheld out: {found.right} of {held_out} right")
    say_confusion(found.table, model.labels, say)
    say("\nthe most confident mistakes" if found.mistakes else "\nno mistakes")
    for line, said, p in found.mistakes[:3]:
        say(f"  {said} with probability {p:.3f}, in truth {line.label}: {_short(line.text)}")
        for row in model.why(line.text, said).lines(5):
            say(f"    {row}")
    say("\nthe weights that decide")
    deciding = found.deciding()
    for label, weights in deciding.items():
        say(f"  {label}: " + ", ".join(f"{word} {w:+.2f}" for word, w in weights))
    record: dict[str, Any] = {
        "labels": model.labels,
        "losses": found.losses,
        "moments": [moment._asdict() for moment in found.moments],
        "held_out": held_out,
        "right": found.right,
        "confusion": found.table,
        "mistakes": [
            {"text": line.text, "label": line.label, "said": said, "probability": p}
            for line, said, p in found.mistakes
        ],
        "weights": deciding,
    }
    if ask is not None:
        said, p = best(model, ask)
        say(f"\n{ask!r} is {said} with probability {p:.3f}")
        receipt = model.why(ask, said)
        for row in receipt.lines(10):
            say(f"  {row}")
        record["asked"] = {"text": ask, "said": said, "probability": p}
        record["receipt"] = receipt.to_dict()
    return record


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"
