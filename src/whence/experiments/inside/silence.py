"""What does each head and each part of a trained model do for its loss? Silenced one at a time."""

from collections.abc import Sequence
from typing import Any, Literal

from whence.errors import WhenceError
from whence.experiments.common import Interval, Report, apart
from whence.models.silence import heads_of, parts_of, silenced
from whence.runs.run import Run

Silenced = tuple[str, int | None]  # a part, or a head of one


def silence(
    run: Run, at: int | Literal["best", "last"] = "best", most: int = 16_384, heads: bool = True
) -> Report:
    """Measure a run's loss with each head and each part silenced, and with all idle ones together.

    Args:
        run: of a model with attention or feed-forward parts.
        at: which checkpoint.
        most: at most so many tokens of the validation part are read.
        heads: silence single heads, too.

    Raises:
        WhenceError: a model without such parts.
    """
    model: Any = run.model(at)
    everything: list[Silenced] = [(name, None) for name in parts_of(model)]
    everything += heads_of(model) if heads else []
    if not everything:
        raise WhenceError(
            f"{run.path} can't be used here: its model has no heads or parts to silence."
        )

    def measure(parts: Sequence[Silenced]) -> list[float]:
        names = [name for name, head in parts if head is None]
        chosen = [(name, head) for name, head in parts if head is not None]
        with silenced(model, names, chosen):
            return run.task.stretches(model, most)

    whole = measure([])
    costs = {each: apart(measure([each]), whole) for each in everything}
    idle = [each for each, cost in costs.items() if each[1] is not None and not cost > 0]
    together = apart(measure(idle), whole) if len(idle) > 1 else None
    rows = [
        (name if head is None else f"{name}, head {head + 1}", f"{cost:+.4f}")
        for (name, head), cost in sorted(costs.items(), key=lambda row: -row[1].mean)
    ]
    if together:
        rows.append((f"the {len(idle)} heads without a cost, together", f"{together:+.4f}"))
    mean = sum(whole) / len(whole)
    return Report(
        question="What does each head and each part do for the loss?",
        setting=f"{run.path}, loss {mean:.4f} nats with all of them, on {len(whole)} stretches of "
        "the validation part; 95 % intervals over the stretches",
        columns=("silenced", "the loss rises by"),
        rows=rows,
        answer=conclusion(costs, idle, together),
        data={
            "loss": mean,
            "costs": [
                {"part": name, "head": head, "cost": c.mean, "low": c.low, "high": c.high}
                for (name, head), c in costs.items()
            ],
            "idle_heads_together": None if together is None else together.mean,
        },
    )


def conclusion(
    costs: dict[Silenced, Interval], idle: Sequence[Silenced], together: Interval | None
) -> str:
    """Say what is missed, as far as the text settles it.

    Args:
        costs: by how much the loss rises without each.
        idle: the heads whose cost can't be told from none.
        together: the cost of all of those at once.
    """
    missed = {each: cost for each, cost in costs.items() if cost > 0}
    if not missed:
        return (
            "Undecided: no head and no part is missed by more than chance. Either the model hasn't "
            "learned to use them, or the text is too short to show."
        )
    worst = max(missed, key=lambda each: missed[each].mean)
    named = worst[0] if worst[1] is None else f"head {worst[1] + 1} of {worst[0]}"
    told = f"{named} is missed most, by {missed[worst].mean:.3f} nats"
    rivals = [
        each for each, cost in missed.items() if each != worst and cost.high >= missed[worst].low
    ]
    told += ", though others may be missed as much. " if rivals else ". "
    heads = sum(head is not None for _, head in costs)
    if heads:
        told += f"Of {heads} heads {len(idle)} can be silenced, one at a time, without a cost that "
        told += "shows. "
    if together is not None and together > 0:
        told += (
            f"All of those at once cost {together.mean:.3f} nats: they stand in for one another."
        )
    elif together is not None:
        told += "Nor do all of those at once show a cost: they are idle on this text."
    return told.strip()
