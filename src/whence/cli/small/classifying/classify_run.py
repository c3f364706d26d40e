"""`whence classify RUN`: what an encoder that was trained on labelled lines says of a text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.run import Run


def classify_by_run(path: Path, ask: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure a run's classifier on what it held out, and put a text in a class.

    Raises:
        WhenceError: the run's model names no classes, or can't read the text.
    """
    from whence.runs.tasks.labels import Labels

    run = Run.open(path)
    task = run.task
    if not isinstance(task, Labels):
        raise WhenceError(f"{path} isn't a classifier: train one with --model encoder.")
    found = run.evaluate()
    classes = task.config.classes
    assert found.exact_match is not None  # of a task that knows right from wrong
    say(
        f"held out: {found.exact_match:.1%} of {found.n_tokens} texts named rightly, "
        f"loss {found.loss:.4f} nats each, classes {', '.join(classes)}"
    )
    record: dict[str, Any] = {
        "labels": list(classes),
        "held_out": found.n_tokens,
        "right": round(found.exact_match * found.n_tokens),
        "loss": found.loss,
    }
    if ask is not None:
        p = task.probabilities(run.model(), [ask])[0].tolist()
        best = max(range(len(p)), key=p.__getitem__)
        say(f"\n{ask!r} is {classes[best]} with probability {p[best]:.3f}")
        for name, share in sorted(zip(classes, p, strict=True), key=lambda row: -row[1]):
            say(f"  {name:<16}{share:.4f}")
        record["asked"] = {"text": ask, "said": classes[best], "probability": p[best]}
        record["asked"]["probabilities"] = dict(zip(classes, p, strict=True))
    return record
