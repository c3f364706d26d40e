"""Which word of the sentence is learned first?"""

from collections.abc import Sequence

from whence.experiments.common import AMOUNT, Report, mean_interval, share_interval
from whence.experiments.text.sentence import MODELS, Course, learn, make_model, open_sentence

STEPS = {"scalars": 400, "mlp": 60, "rnn": 80, "gpt": 60}


def first(seeds: Sequence[int] = range(30), text: str = "we love deep learning") -> Report:
    """Train each kind of small network on one sentence from many starts, by plain SGD.

    A word is learned at the first step before which its probability is above one half.

    Args:
        seeds: one run of each kind for each.
        text: the sentence.
    """
    sentence = open_sentence(text)
    targets = sentence.targets
    names = [
        f"{word} ({t + 1})" if targets.count(word) > 1 else word for t, word in enumerate(targets)
    ]
    rows, data = [], {}
    ahead: dict[str, list[int]] = {}
    for kind in MODELS:
        courses = [
            learn(make_model(kind, sentence, seed), sentence, steps=STEPS[kind], show=())
            for seed in seeds
        ]
        learned = [
            [STEPS[kind] if s is None else s for s in course.learned_at()] for course in courses
        ]
        winners = [first_learned(course) for course in courses]
        ahead[kind] = [winners.count(t) for t in range(len(targets))]
        for t, name in enumerate(names):
            steps = mean_interval([row[t] for row in learned], AMOUNT)
            share = share_interval(ahead[kind][t], len(seeds))
            rows.append((kind if t == 0 else "", name, f"{share:.2f}", f"{steps:.1f}"))
        count = dict(zip(names, ahead[kind], strict=True))
        data[kind] = {"learned_at": learned, "first": {w: n for w, n in count.items() if n}}
    return Report(
        question="Do later words of the sentence learn sooner, or earlier ones?",
        setting=f"'{text}', SGD at 0.1, {len(seeds)} first weights for each model",
        columns=("model", "word", "first, share of runs", "step at which P > 1/2"),
        rows=rows,
        answer=conclusion(names, ahead),
        data=data,
    )


def conclusion(names: Sequence[str], ahead: dict[str, list[int]]) -> str:
    """Say which word comes first, where the runs settle it.

    A word is first reliably in a kind of model if its share of the runs is above an even one, by
    its whole interval; a run that learned nothing counts for no word.

    Args:
        names: the words, in the order of the sentence.
        ahead: for each kind of model, how often each word was first.
    """
    told, reliable, open_kinds = [], {}, []
    for kind, counts in ahead.items():
        n, best = sum(counts), max(range(len(counts)), key=counts.__getitem__)
        if n == 0:
            told.append(f"{kind}: none in any run")
        else:
            told.append(f"{kind}: {names[best]} in {counts[best]} of {n}")
        if n and share_interval(counts[best], n) > 1 / len(names):
            reliable[kind] = best
        else:
            open_kinds.append(kind)
    said = f"Most often first: {', '.join(told)} (of words learned at the same step the likeliest)."
    if len(names) == 1:
        return said + " A sentence of one word has no order."
    if len(set(reliable.values())) > 1:
        return said + (
            " It depends on the model and its first weights: neither 'early words first' nor "
            "'late words first' is a law."
        )
    if open_kinds:
        return said + (
            f" Undecided: in {', '.join(open_kinds)} no word is first more often than chance would "
            "have it, in so many runs."
        )
    return said + " All models agree here; another sentence, start or size can still differ."


def first_learned(course: Course) -> int | None:
    """The target learned first; of several at the same step the likeliest there; None: none was."""
    if not any(step is not None for step in course.learned_at()):
        return None
    reached = [s if s is not None else len(course.losses) - 1 for s in course.learned_at()]
    row = course.probabilities[min(reached)]
    return min(range(len(reached)), key=lambda t: (reached[t], -row[t]))
