"""`whence sentence`: one sentence learned by a small network, with every number shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from whence.cli.chart import bars
from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.words import Rate
from whence.errors import WhenceError
from whence.experiments.text.prediction import Position, noted_positions, total_loss

if TYPE_CHECKING:
    from whence.experiments.text.sentence import Course, Snapshot, Update

SNAPSHOTS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
MEANS = {
    "scalars": "z[w] = read[last word] · write[w] + bias[w]",
    "mlp": "vectors of all words so far, a hidden layer of 16 tanh units",
    "rnn": "h ← tanh(W·x + U·h + b) with 8 units",
    "gpt": "one block of a Transformer, 2 heads, width 16",
}


def sentence(
    text: Annotated[str, tyro.conf.Positional] = "we love deep learning",
    *,
    model: str = "scalars",
    vocabulary: tuple[str, ...] = (),
    end: bool = False,
    mean: bool = False,
    learning_rate: Rate = 0.1,
    steps: int = 5000,
    show: tuple[int, ...] = (0,),
    seed: int = 0,
    weights: Path | None = None,
    notes: bool = False,
    json: bool = False,
) -> None:
    """Train a small network to say one sentence, and show how each number is made.

    Each word is predicted from all words before it, `<BOS>` included. The loss is the sum over
    the targets.

    Args:
        text: the sentence.
        model: `scalars` (three numbers a word, 36 for the usual vocabulary), `mlp`, `rnn`, `gpt`.
        vocabulary: the words that can be said; without it twelve, and those of the sentence.
        end: make `<EOS>` the last target.
        mean: minimize the mean over the targets instead of the sum.
        learning_rate: of plain gradient descent.
        steps: how many updates.
        show: steps to open: every logit, exponential, probability, gradient and update.
        seed: of the initial weights.
        weights: a JSON file with the initial weights, a list for each parameter.
        notes: instead of training, compute with the fixed logits of the notes.
        json: print JSON instead of tables.
    """
    from whence.experiments.text.sentence import learn, make_model, open_sentence

    if notes:
        _show_notes(json)
        return
    if steps < 1 or not learning_rate > 0:
        raise WhenceError(f"--steps {steps} and --learning-rate {learning_rate:g} must be above 0.")
    parsed = open_sentence(text, vocabulary or None, end)
    net = make_model(model, parsed, seed, weights)
    opened = sorted({*show, *(s for s in SNAPSHOTS if s < steps)})
    course = learn(net, parsed, steps=steps, rate=learning_rate, mean=mean, show=opened)
    if json:
        print(strict(_document(course, model, show)))
        return
    console = Console()
    loss = "mean over" if mean else "sum over"
    console.print(
        Text(" ".join(parsed.words), "bold"),
        f"\nmodel: {model}, {course.n_parameters} parameters: {MEANS[model]}\n"
        f"vocabulary: {len(parsed.vocabulary)} words: {' '.join(parsed.vocabulary)}\n"
        f"loss: {loss} the {len(parsed.targets)} targets of −ln P(target); "
        f"a model that knows nothing has the sum {_floor(course):.4f}\n"
        f"step: parameter − {learning_rate:g} · gradient",
        sep="",
        soft_wrap=True,
    )
    for step in show:
        _show_step(console, course.snapshots[step], learning_rate)
    _show_course(console, course)


def _floor(course: Course) -> float:
    return len(course.sentence.targets) * math.log(len(course.sentence.vocabulary))


def _show_step(console: Console, snapshot: Snapshot, rate: float) -> None:
    from whence.train.losses import perplexity

    console.print(f"\nstep {snapshot.step}", style="bold")
    for number, position in enumerate(snapshot.positions, start=1):
        _print_prediction(console, number, position)
    loss = total_loss(snapshot.positions)
    mean = loss / len(snapshot.positions)
    parts = " + ".join(f"{p.loss:.6f}" for p in snapshot.positions)
    console.print(f"loss: {parts} = {loss:.6f}; mean {mean:.6f}, perplexity {perplexity(mean):.6f}")
    words = snapshot.positions[0].words
    for update in snapshot.updates:
        _print_update(console, update, words, rate)


def _print_prediction(console: Console, number: int, position: Position) -> None:
    total = math.fsum(position.exponentials)
    console.print(
        f"{number}. after {' '.join(position.context)}: Σ e^z = {total:.4f}, "
        f"−ln P({position.target}) = {position.loss:.6f}",
        soft_wrap=True,
    )
    table = Table()
    for name in ("word", "logit z", "e^z", "p = e^z / Σ", "p − y"):
        table.add_column(name, justify="left" if name == "word" else "right")
    rows = zip(
        position.words,
        position.logits,
        position.exponentials,
        position.probabilities,
        position.gradient,
        strict=True,
    )
    for word, z, e, p, g in rows:
        style = "bold" if word == position.target else ""
        table.add_row(word, f"{z:.4f}", f"{e:.4f}", f"{p:.6f}", f"{g:+.6f}", style=style)
    console.print(table)


def _print_update(console: Console, update: Update, words: tuple[str, ...], rate: float) -> None:
    """A row for each number of a vector over the words; the largest gradients of the others."""
    flat = [t.flatten().tolist() for t in (update.before, update.gradient, update.after)]
    shape = list(update.before.shape)
    order = range(len(flat[0]))
    title = f"{update.name} {shape}"
    if update.before.ndim > 1 or len(flat[0]) > 16:
        order = sorted(order, key=lambda i: -abs(flat[1][i]))[:5]
        norm = math.sqrt(math.fsum(g * g for g in flat[1]))
        title += f": gradient's norm {norm:.6f}, its largest five"
    console.print(title, soft_wrap=True)
    table = Table()
    for name in ("place", "before", "gradient", f"− {rate:g} · gradient", "after"):
        table.add_column(name, justify="left" if name == "place" else "right")
    for i in order:
        place = words[i] if shape == [len(words)] else _place(i, shape)
        before, gradient, after = (values[i] for values in flat)
        step = -rate * gradient + 0.0  # no −0
        table.add_row(place, *(f"{x:+.6f}" for x in (before, gradient, step, after)))
    console.print(table)


def _place(i: int, shape: list[int]) -> str:
    places: list[str] = []
    for size in reversed(shape):
        i, rest = divmod(i, size)
        places.append(str(rest))
    return ",".join(reversed(places))


def _show_course(console: Console, course: Course) -> None:
    table = Table(title="\nwhat was learned, and when", title_justify="left")
    table.add_column("step", justify="right")
    table.add_column("loss (sum)", justify="right")
    table.add_column("perplexity", justify="right")
    for target in course.sentence.targets:
        table.add_column(f"P({target})", justify="right")
    for step in sorted(course.snapshots):
        table.add_row(
            f"{step:,}",
            f"{course.losses[step]:.4f}",
            f"{course.perplexity(step):.4f}",
            *(f"{p:.4f}" for p in course.probabilities[step]),
        )
    console.print(table)
    _show_likeliest(console, course)
    console.print("over the steps, on a logarithmic scale")
    for t, target in enumerate(course.sentence.targets):
        curve = bars((row[t] for row in _spread(course.probabilities)), 0.0, 1.0)
        console.print(f"  P({target})".ljust(16) + curve)
    reached = zip(course.sentence.targets, course.learned_at(), strict=True)
    told = ", ".join(f"{w} at step {s:,}" if s is not None else f"{w} never" for w, s in reached)
    console.print(f"P above one half: {told}")


def _show_likeliest(console: Console, course: Course) -> None:
    """The five likeliest words after the last word read, at each snapshot."""
    context = " ".join(course.snapshots[0].positions[-1].context)
    title = f"\nlikeliest after {context}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("step", justify="right")
    for rank in range(1, min(5, len(course.sentence.vocabulary)) + 1):
        table.add_column(f"{rank}.")
    for step, snapshot in sorted(course.snapshots.items()):
        top = snapshot.positions[-1].top(5)
        table.add_row(f"{step:,}", *(f"{w} {_probability(p)}" for w, p in top))
    console.print(table)


def _probability(p: float) -> str:
    """Two digits, unless they would round to 0 or to 1."""
    return f"{p:.2f}" if 0.005 <= p < 0.995 else "<0.01" if p < 0.5 else ">0.99"


def _spread(rows: list[Any], n: int = 48) -> list[Any]:
    """About n rows at steps spread evenly on a logarithmic scale."""
    last = len(rows) - 1
    places = sorted({round(math.expm1(math.log1p(last) * i / (n - 1))) for i in range(n)})
    return [rows[i] for i in places]


def _show_notes(as_json: bool) -> None:
    from whence.train.losses import perplexity

    found = noted_positions()
    loss = total_loss(found)
    first = found[0].probabilities[0]
    wider = math.exp(2.1) / (math.fsum(found[0].exponentials) + 4)
    if as_json:
        record = {
            "schema": 1,
            "positions": [_position(p) for p in found],
            "loss": loss,
            "mean": loss / 4,
            "perplexity": perplexity(loss / 4),
            "sigmoid_of_first": 1 / (1 + math.exp(-2.1)),
            "probability_with_twelve_words": wider,
        }
        print(strict(record))
        return
    console = Console()
    console.print("the notes' fixed logits, worked out", style="bold")
    for number, position in enumerate(found, start=1):
        _print_prediction(console, number, position)
    parts = " + ".join(f"{p.loss:.6f}" for p in found)
    console.print(
        f"loss: {parts} = {loss:.6f}; mean {loss / 4:.6f}, perplexity {perplexity(loss / 4):.6f}\n"
        f"The logit 2.1 of 'we' makes P = {first:.6f} here. 0.891 is its sigmoid, "
        f"{1 / (1 + math.exp(-2.1)):.6f}, which isn't a probability among words.\n"
        f"Only 8 of the 12 words have a logit: with 0 for the other four P(we) is {wider:.6f}."
    )


def _position(position: Position) -> dict[str, Any]:
    return {
        "context": list(position.context),
        "target": position.target,
        "words": list(position.words),
        "logits": list(position.logits),
        "exponentials": position.exponentials,
        "probabilities": position.probabilities,
        "gradient": position.gradient,
        "loss": position.loss,
    }


def _document(course: Course, model: str, show: tuple[int, ...]) -> dict[str, Any]:
    steps = [
        {
            "step": step,
            "positions": [_position(p) for p in course.snapshots[step].positions],
            "updates": {
                u.name: {
                    "before": u.before.tolist(),
                    "gradient": u.gradient.tolist(),
                    "after": u.after.tolist(),
                }
                for u in course.snapshots[step].updates
            },
        }
        for step in show
    ]
    return {
        "schema": 1,
        "words": list(course.sentence.words),
        "vocabulary": list(course.sentence.vocabulary),
        "model": model,
        "parameters": course.n_parameters,
        "losses": course.losses,
        "probabilities": course.probabilities,
        "learned_at": course.learned_at(),
        "top": {str(s): shot.positions[-1].top(5) for s, shot in course.snapshots.items()},
        "steps": steps,
    }
