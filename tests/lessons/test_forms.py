"""What a lesson concludes is chosen by its numbers: single cells, run on made-up numbers."""

import math
from types import SimpleNamespace as Made

import pytest

from whence import lessons
from whence.experiments.common import Interval, share_interval
from whence.lessons import Play, lesson
from whence.lessons.play import Output


def said(n: int, marker: str, **made) -> str:
    """What the cell with a marker in it says where the lesson has come to these numbers."""
    play = Play(lesson(n))
    index = next(c.index for c in play.lesson.cells if not c.markdown and marker in c.source)
    play.outputs = {i: Output(i, "code") for i in range(index)}  # as if they had run
    names = {
        name: getattr(lessons, name)
        for name in ("ask", "check", "figure", "reveal", "say", "table")
    }
    question = lessons.ask("?", *map(str, range(6)))
    play.names.update(math=math, guess=question, guess_proof=question, **names, **made)
    return " ".join(play.run(index).markdown.split())


def sure(mean: float) -> Interval:
    return Interval(mean, mean - 0.01, mean + 0.01)


def line(start: float, change: float) -> str:
    return said(1, "reveal(", learned_start=start, learned_change=change)


def neuron(after: float, straight: float) -> str:
    made = dict.fromkeys(("new_w1", "new_b1", "new_w2", "new_b2", "after_loss", "y_hat"), 1.0)
    return said(3, "reveal(", **{**made, "after": after, "straight": straight})


def counts(order: Interval, careful: float = 4.0, marker: str = "reveal(") -> str:
    made = {"unigram_ppl": 9.0, "bigram_ppl": 5.0, "trigram_ppl": 7.0, "known": 0.5, "size": 100}
    made |= {"by_order": order, "careful": {"bigram": 5.0, "trigram": careful}}
    return said(5, marker, **made)


def passed(*steps: int | None) -> str:
    made = {"sentence": Made(targets=("we", "love")), "start_loss": 5.0, "end_loss": 0.1}
    return said(6, "learned_at()))\nin_order", course=Made(learned_at=lambda: list(steps)), **made)


def firsts(**counted: int) -> str:
    return said(6, "firsts.items()", firsts=counted, knows_nothing=9.94)


def rolled(momentum: float) -> str:
    ends = {"sgd_end": 1.0, "momentum_end": momentum, "adam_end": 0.1, "rises": 3}
    return said(7, "reveal(", **ends)


def remembered(mlp: float, rnn: float, lstm: float, never: str = "") -> str:
    ends = {"MLP": mlp, "RNN": rnn, "LSTM": lstm}
    learned = {name: None if name == never else 50 for name in ends}
    course = {name: [(2, 1.0), (32, end)] for name, end in ends.items()}
    made = {"share_interval": share_interval, "chance": 1 / 8}
    return said(8, "reveal(", course=course, learned_at=learned, **made)


def gate(before: float, after: float, rnn: float = 1e-4) -> str:
    made = {"rnn_factor": 0.5, "lstm_factor": 0.7, "rnn_left": rnn, "lstm_left": 1e-3}
    return said(8, "gate_told", gate_before=before, gate_after=after, **made)


def looked(chosen: str, right: float = 1.0, steady: bool = False) -> str:
    import torch

    made = {"reader": Made(says=lambda text: "animal"), "looks": [], "at": 0}
    made |= {"tired": "tired", "wide": "wide"}
    made |= {"weights": torch.ones(1, 1), "chosen": chosen, "accuracy": right, "steady": steady}
    return said(9, "outcome = ", **made)


def silenced(*lost: float) -> str:
    without = {f"head {i}": 1.0 - share for i, share in enumerate(lost)}
    return said(10, "reveal(", lost=lost, without=without, accuracy=1.0)


KNOWN = {"uniform": 6.0, "unigram": 4.5, "bigram": 3.5, "gzip": 2.8, "xz": 2.6}


def beaten(measured: float, first: float = math.log(80)) -> str:
    made = {"known": KNOWN, "vocabulary": 80, "samples": [], "first_loss": first}
    return said(11, "reveal(", measured=measured, **made)


def flowing(replaced: float, normed: float) -> str:
    made = {"each": 0.5, "replaced": [1.0, replaced], "added": [1.0, 1.0], "normed": [1.0, normed]}
    return said(11, "further block", **made)


def repeated(greedy: float, usual: float) -> str:
    made = {"texts": {}, "repeated": {}, "prompt": "The "}
    return said(12, "reveal(", greedy_repeats=greedy, usual_repeats=usual, **made)


def owls(share: float) -> str:
    return said(13, "reveal(", owl_share=share)


def without(by: float, at: float) -> str:
    return said(13, "P(by) was", by_was=0.9, by_would=by, says={"by": (0.9, by), "at": (0.1, at)})


def taught(rise: float) -> str:
    made = {"lesson_of": Made(windows=[]), "accounted": 1.0, "left_over": 0.0, "best": []}
    return said(13, "[ln P](#ln-p)", rise=rise, run=None, describe=lambda _run, _best: [], **made)


def sized(marker: str, *bits: float) -> str:
    measured = dict(zip(("small", "middle", "large"), bits, strict=True))
    return said(14, marker, measured=measured, sizes=measured, counts=dict.fromkeys(measured, 1))


def called(faults: str, last: str = "B") -> str:
    finding = Made(verdict="sees the future", level="act")
    runs = {name: [finding] if name in faults else [] for name in "ABCD"}
    losses = {name: [0.1 if name == last else 1.0] for name in "ABCD"}
    return said(15, "clean = ", runs=runs, found=runs, losses=losses)


def paced(fast: float) -> str:
    def finding(rule: str, value: float) -> list:
        return [Made(rule=rule, facts=[Made(value=value)])]

    acts = {"C": finding("update-too-small", 1e-6), "D": finding("update-too-large", fast)}
    return said(15, "slow_ratio", acts=acts)


def proved(with_change: tuple, control: tuple, outcome: str) -> str:
    proof = Made(with_change=with_change, control=control, outcome=outcome)
    made = {"RULES": [Made(name="sees-the-future")], "runs": {"B": None}, "leak": None}
    return said(15, "proof.outcome", try_change=lambda *_, **__: proof, **made)


# (what was found, what is said of it)
FORMS = {
    "the line falls": (lambda: line(500, -20), "It is b) 1.** Each kilometre"),
    "the line rises": (lambda: line(500, 20), "A *positive* weight"),
    "a start below zero": (lambda: line(-5, 20), "It is a)"),
    "the step goes too far": (lambda: neuron(4.95, 4.65), "It went too far"),
    "the step stops short": (lambda: neuron(3.0, 2.5), "It isn't 4 yet"),
    "add-one spoils it": (lambda: counts(sure(1)), "drowns what was really counted"),
    "text enough": (lambda: counts(sure(-1)), "enough text here for the second word"),
    "a short text": (lambda: counts(sure(0)), "changes its sign"),
    "context helps smoothed": (lambda: counts(sure(1), 4.0, "helps = "), "Context helps when"),
    "context helps not": (lambda: counts(sure(1), 6.0, "helps = "), "doesn't help here"),
    "unsettled": (lambda: counts(sure(0), 4.0, "helps = "), "this text doesn't tell"),
    "both are learned": (lambda: passed(9, 4), "love at 4, we at 9"),
    "one isn't": (lambda: passed(None, 4), "love at 4, we never"),
    "starts differ": (lambda: firsts(we=5, love=7), "it depends on the start"),
    "starts agree": (lambda: firsts(we=12, love=0), "all starts agree"),
    "momentum gains": (lambda: rolled(0.1), "Here that is a gain"),
    "momentum loses": (lambda: rolled(2.0), "it rolls past the bottom"),
    "the LSTM keeps it": (
        lambda: remembered(0.12, 0.6, 1.0),
        "in 50 steps. It keeps them",
    ),
    "chance and fading": (lambda: remembered(0.12, 0.6, 1.0), "It fades"),
    "nothing is left": (lambda: remembered(0.12, 0.6, 1.0), "no better than chance"),
    "two as good": (lambda: remembered(0.12, 0.80, 0.81), "It is d)"),
    "one not learned": (lambda: remembered(0.1, 0.2, 0.9, never="RNN"), "isn't forgotten"),
    "the gate opens": (lambda: gate(0.7, 0.9), "Training has opened it"),
    "the gate stays": (lambda: gate(0.7, 0.7), "Training hasn't opened it"),
    "less arrives in the RNN": (lambda: gate(0.7, 0.9), "more than in the RNN"),
    "more arrives in the RNN": (lambda: gate(0.7, 0.9, rnn=0.1), "no more than in the RNN"),
    "it looks at the quality": (lambda: looked("tired"), "It is c)"),
    "it looks at another word": (lambda: looked("because"), "It is e)"),
    "it looks elsewhere": (lambda: looked("tired"), "goes with the answer"),
    "it looks at the same": (lambda: looked("animal", steady=True), "several heads fetched"),
    "it hasn't learned": (lambda: looked("tired", right=0.3), "explains nothing"),
    "each head is missed": (lambda: silenced(0.2, 0.3), "It is a)"),
    "some heads are": (lambda: silenced(0.0, 0.3), "It is b)"),
    "no head is": (lambda: silenced(0.0, 0.01), "It is c)"),
    "a GPT beats the pairs": (lambda: beaten(3.0), "It is c)"),
    "a GPT beats nothing": (lambda: beaten(7.0), "has beaten none of them"),
    "a GPT beats all": (lambda: beaten(2.0), "It is e)"),
    "it knew nothing": (lambda: beaten(3.0), "all characters were equally likely to it"),
    "it knew something": (lambda: beaten(3.0, first=4.0), "for no reason"),
    "nothing arrives": (lambda: flowing(1e-9, 1.0), "nothing would be learned"),
    "norms do it, too": (lambda: flowing(1e-9, 1.0), "Only in part"),
    "norms don't": (lambda: flowing(1e-9, 1e-6), "don't keep the gradient's size"),
    "greedy repeats": (lambda: repeated(0.8, 0.1), "It is b)"),
    "greedy doesn't": (lambda: repeated(0.1, 0.1), "doesn't show it well"),
    "the owl did it": (lambda: owls(0.9), "these are the lines that surprise it"),
    "others did it, too": (lambda: owls(0.3), "other lines had as much to do with it"),
    "the owl forgets": (lambda: without(0.001, 0.9), "sleep at night like all the others"),
    "the owl doesn't": (lambda: without(0.9, 0.1), "learned it elsewhere"),
    "it rose": (lambda: taught(2.0), "rose by 2.000"),
    "it fell": (lambda: taught(-2.0), "fell by 2.000"),
    "the largest leads": (lambda: sized("reveal(", 4, 3, 2), "It is c)"),
    "two sizes as good": (lambda: sized("reveal(", 4, 3, 2.99), "first weights could reverse"),
    "bits fall": (lambda: sized("falls = ", 4, 3, 2), "fall from size to size"),
    "bits don't fall": (lambda: sized("falls = ", 4, 2, 3), "don't even fall"),
    "only A is sound": (lambda: called("BCD"), "It is a)"),
    "B flatters": (lambda: called("BCD"), "B predicts best because it can look ahead"),
    "B doesn't": (lambda: called("BCD", last="A"), "B can look ahead"),
    "all are sound": (lambda: called(""), "It is d)"),
    "far too fast": (lambda: paced(2.0), "throws away in one step"),
    "only fast": (lambda: paced(0.1), "D takes 10."),
    "the cure costs loss": (lambda: proved((2.0, 2.1), (1.0, 1.1), "cured"), "It is b)"),
    "the finding goes": (lambda: proved((2.0, 2.1), (1.0, 1.1), "cured"), "the fault is gone"),
    "the finding stays": (lambda: proved((2.0, 2.1), (1.0, 1.1), "worse"), "fault is still there"),
    "the cure saves loss": (lambda: proved((1.0, 1.1), (2.0, 2.1), "cured"), "It is a)"),
    "seeds can't tell": (lambda: proved((1.0, 2.1), (2.0, 1.1), "cured"), "It is c)"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_lessons_sentence_follows_its_numbers(form):
    found, expected = FORMS[form]
    assert expected in found()
