"""Which word of the sentence is learned first?"""

from collections import Counter
from collections.abc import Sequence

from whence.experiments.common import Report, mean_interval, share_interval
from whence.experiments.sentence import MODELS, Course, learn, make_model, open_sentence

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
    rows, data = [], {}
    firsts: dict[str, Counter[str]] = {}
    for kind in MODELS:
        courses = [
            learn(make_model(kind, sentence, seed), sentence, steps=STEPS[kind], show=())
            for seed in seeds
        ]
        learned = [
            [STEPS[kind] if s is None else s for s in course.learned_at()] for course in courses
        ]
        ahead = Counter(targets[_winner(course)] for course in courses)
        firsts[kind] = ahead
        for t, word in enumerate(targets):
            steps = [row[t] for row in learned]
            share = share_interval(ahead[word], len(learned))
            rows.append(
                (kind if t == 0 else "", word, f"{share:.2f}", f"{mean_interval(steps):.1f}")
            )
        data[kind] = {"learned_at": learned, "first": dict(ahead)}
    winners = {kind: ahead.most_common(1)[0] for kind, ahead in firsts.items()}
    told = ", ".join(
        f"{kind}: {word} in {n} of {len(seeds)}" for kind, (word, n) in winners.items()
    )
    one = len({word for word, _ in winners.values()}) == 1
    return Report(
        question="Do later words of the sentence learn sooner, or earlier ones?",
        setting=f"'{text}', SGD at 0.1, {len(seeds)} first weights for each model",
        columns=("model", "word", "first, share of runs", "step at which P > 1/2"),
        rows=rows,
        answer=f"Most often first: {told} "
        f"(of words learned at the same step the likeliest). "
        + (
            "All models agree here; another start or size can still differ."
            if one
            else "It depends on the model and its first weights: neither 'early words first' nor "
            "'late words first' is a law."
        ),
        data=data,
    )


def _winner(course: Course) -> int:
    """The target learned first; of several at the same step the likeliest there."""
    reached = [s if s is not None else len(course.losses) - 1 for s in course.learned_at()]
    row = course.probabilities[min(reached)]
    return min(range(len(reached)), key=lambda t: (reached[t], -row[t]))
