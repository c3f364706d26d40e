"""What does a model know of language? Minimal pairs: which of two texts is likelier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whence.data.made.minimal import PAIRS, MinimalPair
from whence.errors import WhenceError
from whence.experiments.common import DIFFERENCE, Interval, Report, mean_interval, share_interval
from whence.runs.questions.scores import score_by
from whence.runs.run import Run


@dataclass(frozen=True)
class Judged:
    """A pair and how much likelier a model finds the better text: ln P(better) − ln P(worse)."""

    pair: MinimalPair
    better: float
    worse: float

    @property
    def margin(self) -> float:
        """Above 0: it prefers the better one."""
        return self.better - self.worse


def judge(
    run: Run, pairs: Sequence[MinimalPair] = PAIRS, at: int | Literal["best", "last"] = "best"
) -> tuple[list[Judged], list[MinimalPair]]:
    """Let a run's model say which text of each pair is likelier.

    Returns:
        The pairs it could read, and those with a character that its tokenizer doesn't know.

    Raises:
        WhenceError: it can read none, or predicts no text.
    """
    if not run.task.is_prose:
        raise WhenceError(
            f"{run.path} doesn't predict running text: give a run of a language model."
        )
    model, found, unread = run.writer(at), [], []
    for pair in pairs:
        try:
            better, worse = (score_by(run, model, text).total for text in (pair.better, pair.worse))
        except WhenceError:
            unread.append(pair)
            continue
        found.append(Judged(pair, better, worse))
    if not found:
        raise WhenceError(f"{run.path} can read none of the pairs: its tokenizer lacks characters.")
    return found, unread


def preference(
    run: Run, pairs: Sequence[MinimalPair] = PAIRS, at: int | Literal["best", "last"] = "best"
) -> Report:
    """Judge minimal pairs, and report for each kind how often the better text is likelier.

    Args:
        run: of a model that predicts text.
        pairs: a built-in set of English, or your own.
        at: which checkpoint.

    Raises:
        WhenceError: as `judge`.
    """
    found, unread = judge(run, pairs, at)
    kinds = [*dict.fromkeys(j.pair.kind for j in found)]
    groups = {kind: [j for j in found if j.pair.kind == kind] for kind in kinds}
    if len(groups) > 1:
        groups["all"] = found
    rows = []
    for kind, judged in groups.items():
        share = _share(judged)
        margin = mean_interval([j.margin for j in judged], DIFFERENCE)
        rows.append((kind, str(len(judged)), f"{share:.2f}", f"{margin:+.2f}"))
    left = f"; {len(unread)} left out, with characters it doesn't know" if unread else ""
    return Report(
        question="What does the model know of language?",
        setting=f"{run.path}, {len(found)} pairs{left}; how often it finds the better text "
        "likelier (chance: 0.5), and by how many nats on the mean",
        columns=("they differ in", "pairs", "better one preferred", "ln P better − ln P worse"),
        rows=rows,
        answer=conclusion({kind: _share(judged) for kind, judged in groups.items()}),
        data={
            "pairs": [
                {**vars(j.pair), "ln_p_better": j.better, "ln_p_worse": j.worse} for j in found
            ],
            "unread": [vars(pair) for pair in unread],
        },
    )


def _share(judged: Sequence[Judged]) -> Interval:
    return share_interval(sum(j.margin > 0 for j in judged), len(judged))


def conclusion(shares: dict[str, Interval]) -> str:
    """Say what the model knows, as far as the pairs settle it.

    Args:
        shares: how often the better text of a pair is preferred, by kind.
    """
    knows = [kind for kind, share in shares.items() if share > 0.5]
    wrong = [kind for kind, share in shares.items() if share < 0.5]
    left = [kind for kind in shares if kind not in (*knows, *wrong)]
    said = []
    if knows:
        said.append(f"It prefers the better text more often than chance: {', '.join(knows)}.")
    if wrong:
        said.append(f"It prefers the worse text more often than chance: {', '.join(wrong)}.")
    if left:
        said.append(f"Undecided, too few pairs to tell from chance: {', '.join(left)}.")
    return " ".join(said)
