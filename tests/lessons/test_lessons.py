"""Every lesson runs whole, its key figures are the known ones, and its exercise judges rightly."""

import math
import re
import runpy
from pathlib import Path

import pytest

from whence.errors import WhenceError
from whence.lessons import Play, lesson, lessons
from whence.lessons.talk import bold_words

DOCS = Path(__file__).parents[2] / "docs"

# For each lesson: values that solve its exercise, and values that don't, with a word of the hint.
RIGHT = {
    0: [{"rate": 0.05}],
    1: [{"distance": 1.36}],
    2: [{"slope": 10}],
    3: [{"rate": 0.07}],
    4: [{"third": 0.1543}],
    5: [{"answer": 0.25}],
    6: [{"z": 0.69}],
    7: [{"rate": 0.045}, {"rate": 0.048}],
    8: [{"tokens": lambda names: names["needed"]}],
    9: [{"s": 2.9}],
    10: [{"weights": 21}],
    11: [{"parameters": 12 * 64 * 64}],
    12: [{"temperature": 2}],
    13: [{"left_out": "the owl sleeps by day."}],
    14: [{"gigabytes": 112}],
    15: [{"rate": 0.003}],
}
WRONG = {
    0: [
        ({"rate": 0.01}, "crawl"),
        ({"rate": 0.1}, "across"),
        ({"rate": 5}, "smaller"),
        ({"rate": -1}, "downhill"),
    ],
    1: [({"distance": 1}, "farther"), ({"distance": 9}, "nearer")],
    2: [({"slope": 40}, "for *b*"), ({"slope": 30}, "*b* is 1 now"), ({"slope": 1}, "2 · d")],
    3: [
        ({"rate": 0.1}, "died at update 3"),
        ({"rate": 0.05}, "faster"),
        ({"rate": 0.09}, "slower"),
        ({"rate": 1e300}, "at most 0.5"),
    ],
    4: [({"third": 0.3}, "lower"), ({"third": 0.01}, "less low"), ({"third": 0}, "above 0")],
    5: [({"answer": 0.5}, "without smoothing"), ({"answer": 0.375}, "P(like | I)")],
    6: [({"z": 2}, "lower"), ({"z": -1e9}, "raise"), ({"z": 1e9}, "lower")],
    8: [({"tokens": 0}, "more"), ({"tokens": 1000}, "fewer")],
    9: [({"s": 1}, "larger"), ({"s": 9}, "smaller"), ({"s": -1e9}, "larger")],
    10: [({"weights": 36}, "without a mask"), ({"weights": 15}, "add them up")],
    11: [({"parameters": 64}, "add them up")],
    12: [({"temperature": 0.5}, "At temperature 0.5 it is 0.982"), ({"temperature": 0}, "is 1")],
    13: [({"left_out": "no such line"}, "isn't in the training text")],
    15: [({"rate": 1e-6}, "too low"), ({"rate": 99}, "at most 10")],
    14: [({"gigabytes": 28}, "4 numbers, each of 4 bytes")],
    7: [({"rate": 0.06}, "over the edge"), ({"rate": 0.03}, "nearer"), ({"rate": -3}, "above 0")],
}
# Figures that were worked out elsewhere: by hand, or in the project's statement.
FIGURES = {
    0: {"start_error": 20.25, "slope": -27.0, "measured": -27.0},
    1: {
        "start_slope": -560,
        "change_slope": -2240,
        "best_start": 585.9643,
        "best_change": -99.8454,
    },
    2: {"a_slope": 42, "b_slope": 28, "c_slope": 14, "d_slope": 14, "twice": 6, "whole": 51},
    3: {
        "y_hat": 2.0,
        "first_loss": 2.0,
        "new_w1": 2.6,
        "new_b1": -2.7,
        "new_w2": 1.7,
        "new_b2": 0.7,
        "after": 4.95,
        "after_loss": 0.45125,
        "straight": 4.65,
        "slopes": [-6, -3, -2, -2],
        "epoch_losses": [2.6130, 6.3838, 3.9888, 2.7419, 2.0981],
        "fatal": 3,
        "dead_w1": 0.95605,
        "dead_b1": -3.25548,
        "dead_w2": 0.12163,
        "predictions": [3.1174, 3.1174, 3.1174],
        "same_length": [4.1402, 4.1402, 4.1402],
        "alive": 1,
        "gentle_predictions": [2, 4, 6],
        "was": 4.9425,  # before the fatal update, and what the changes of w1 and b1 added
        "by_weight": -4.79691,
        "by_bias": -0.53299,
        "closed": -1,
    },
    4: {
        "surprises": [0.1054, 0.6931, 2.3026, 4.6052],
        "ratio": 2,
        "slope_2": math.log(2),
        "slope_e": 1,
        "slope_10": math.log(10),
        "spam": {0.95: 0.0513, 0.7: 0.3567, 0.3: 1.2040, 0.05: 2.9957},
        "pull_surprise": 1 / (1 + math.exp(7)) - 1,
    },
    5: {
        "i_like": 1,
        "like_to": 0.5,
        "like_pizza": 0.5,
        "again": 0,
        "smooth": 3 / 8,
        "smooth_unknown": 3 / 9,
    },
    6: {
        "p_we": 0.149377,
        "losses": [1.901281, 0.560981, 0.472478, 0.006486],
        "loss_sum": 2.941226,
        "loss_mean": 0.735307,
        "perplexity": 2.086121,
        "slope_we": -0.850623,
        "slope_the": 0.448754,
        "slope_hello": 0.300809,
        "slope_is": 0.081980,
        "sigmoid": 0.890903,
        "extended": 0.139193,
        "knows_nothing": 4 * math.log(12),
    },
    13: {"born": 0, "residual": 0},
    7: {"turned": [0.5002, 0.502, 0.520, 0.700, 2.500], "moved_large": 0.001, "edge": 0.05},
}
# GPT-2's and GPT-3's parameters: 12·L·D² + 13·L·D in blocks, embeddings, positions, the last norm.
GPT2, GPT3 = (
    12 * n * d * d + 13 * n * d + 50257 * d + window * d + 2 * d
    for n, d, window in ((12, 768, 1024), (96, 12288, 2048))
)
# What else a lesson says that must be so, whatever the machine.
CLAIMS = {
    5: {
        "the bigram beats the unigram": lambda x: x["bigram_ppl"] < x["unigram_ppl"],
        "add-one spoils the trigram": lambda x: x["trigram_ppl"] > x["unigram_ppl"],
        "with Kneser-Ney context helps": lambda x: (
            x["careful"]["trigram"] < x["careful"]["bigram"] < x["careful"]["unigram"]
        ),
    },
    6: {
        "it starts near to knowing nothing": lambda x: abs(x["start_loss"] - 4 * math.log(12)) < 1,
        "it learns": lambda x: x["end_loss"] < 0.05,
        "the step is the sum of p − y": lambda x: math.isclose(
            x["after"], x["before"] - 0.1 * sum(x["per_place"]), rel_tol=1e-9
        ),
        "every start has a first": lambda x: sum(x["firsts"].values()) == 12,
    },
    7: {
        "the verdicts": lambda x: (
            list(x["judged"].values()) == ["crawls", "on its way", "on its way", "diverged"]
        ),
        "momentum is faster here": lambda x: x["momentum_end"] < x["sgd_end"],
    },
    8: {
        "all have learned the near letters": lambda x: (
            None not in x["learned_at"].values() and min(x["near"].values()) > 0.9
        ),
        "the MLP has nothing left": lambda x: abs(x["ends"]["MLP"] - 0.125) < 0.06,
        "the RNN fades, and keeps some": lambda x: 0.2 < x["ends"]["RNN"] < 0.9 * x["near"]["RNN"],
        "the LSTM's gates opened": lambda x: x["gate_after"] > x["gate_before"] + 0.1,
        "less arrives in the RNN": lambda x: x["rnn_left"] < 0.1 * x["lstm_left"],
    },
    9: {
        "worked out, it is the library's": lambda x: x["apart"] < 1e-5,
        "products grow like √d": lambda x: abs(x["growth"] / 16 - 1) < 0.1,
    },
    10: {
        "no order without positions": lambda x: x["no_positions"] < 1e-4 < x["with_positions"],
        "some heads matter, others hardly": lambda x: min(x["lost"]) <= 0.05 < max(x["lost"]),
        "nothing from the future": lambda x: x["masked"].triu(1).abs().max() == 0,
    },
    11: {
        "it knows nothing at first": lambda x: math.isclose(
            x["first_loss"], math.log(x["vocabulary"]), rel_tol=1e-4
        ),
        "it beats the bigram": lambda x: x["measured"] < x["known"]["bigram"],
        "the stream carries the gradient": lambda x: x["added"][-1] > 100 * x["replaced"][-1],
    },
    12: {
        "greedy repeats itself": lambda x: x["greedy_repeats"] > x["usual_repeats"],
        "no two filters keep the same": lambda x: len({row[1] for row in x["kept_rows"]}) == 3,
    },
    13: {
        "it adds up": lambda x: math.isclose(
            x["born"] + x["ups"] + x["downs"], x["final"], abs_tol=1e-6
        ),
        "the owl's lines did it": lambda x: x["owl_share"] > 0.6,
        "without them it is another model": lambda x: x["by_would"] < 0.01 < 0.5 < x["by_was"],
    },
    14: {
        "GPT-2's size": lambda x: x["small_parameters"] == GPT2,
        "GPT-3's size": lambda x: x["gpt3_parameters"] == GPT3,
        "16 bytes a parameter": lambda x: x["small_bytes"] == 16 * GPT2,
    },
}
CLAIMS[15] = {
    "nothing is wrong with the first": lambda x: not x["acts"]["A"],
    "each fault is found": lambda x: all(x["acts"][name] for name in "BCD"),
    "without a mask the loss is lower": lambda x: x["without_mask"] < x["with_mask"],
    "far too slow, far too fast": lambda x: x["slow_ratio"] < 1e-4 and x["fast_ratio"] > 1,
}
NUMBERS = [found.n for found in lessons()]


@pytest.fixture(scope="module", params=NUMBERS)
def play(request) -> Play:
    """A lesson that has run: once, for all tests of it, which come one after the other."""
    made = Play(lesson(request.param))
    made.all()
    return made


def test_runs_whole(play):
    kinds = [output.kind for output in play.outputs.values()]
    assert kinds.index("question") < kinds.index("answer")
    assert "picture" in kinds
    assert "exercise" in kinds
    for output in play.outputs.values():
        if output.kind == "picture":
            assert output.svg.startswith("<svg")
            assert output.text
            assert len(output.table) > 1
        elif output.kind != "code":
            assert output.markdown


def test_words_light_up_blocks(play):
    outputs = play.outputs.values()
    blocks = {block for output in outputs for block in output.blocks}
    for output in outputs:
        assert set(output.words.values()) <= blocks
        for block in output.blocks:
            assert f'data-block="{block}"' in output.svg


def test_no_figure_is_written_as_a_program_writes_it(play):
    """7.8·10⁻⁵, not 7.81335e-05."""
    for output in play.outputs.values():
        prose = re.sub(r"```.*?```|`[^`]*`", "", output.markdown, flags=re.DOTALL)
        drawn = re.sub(r"<style.*?</style>|<[^>]*>", " ", output.svg, flags=re.DOTALL)
        assert not re.search(r"\de[-+]?\d", prose + drawn), output


@pytest.mark.parametrize("n", NUMBERS)
def test_what_is_said_wrong_has_a_source(n):
    """Only what people say in public is rebutted, and each lesson's section says where."""
    prose = "\n".join(cell.source for cell in lesson(n).cells)
    parts = re.split(r"^## ", prose, flags=re.MULTILINE)
    (section,) = (part for part in parts if part.startswith("What is often said wrong"))
    assert re.search(r"\]\(https?://", section)
    for paragraph in section.split("\n\n"):
        assert ('*"' in paragraph) <= ("](https://" in paragraph), paragraph


@pytest.mark.parametrize("n", NUMBERS)
def test_it_ends_with_one_turn_of_yours_and_a_way_on(n):
    prose = [cell.source for cell in lesson(n).cells if cell.markdown]
    assert "\n".join(prose).count("## Your turn") == 1
    assert prose[-1].startswith("**Further.**")
    assert "\n\n" not in prose[-1].strip()


def test_its_page_in_the_site_has_its_numbers_and_pictures(play):
    page = runpy.run_path(str(DOCS / "played.py"))["page"](play)
    for output in play.outputs.values():
        assert bold_words(output.markdown) in page
        assert output.svg in page
    assert page.startswith("% ")


def test_figures(play):
    for name, value in FIGURES.get(play.lesson.n, {}).items():
        assert play.names[name] == pytest.approx(value, abs=6e-5, rel=2e-6), name


def test_claims(play):
    claims = CLAIMS.get(play.lesson.n, {})
    assert [claim for claim, holds in claims.items() if not holds(play.names)] == []


def test_exercise(play):
    n = play.lesson.n
    exercise = next(cell for cell in play.lesson.cells if cell.kind == "exercise")
    assert not play.run(exercise.index).right  # as it stands it is unsolved
    for values in RIGHT[n]:
        filled = {k: v(play.names) if callable(v) else v for k, v in values.items()}
        output = play.run(exercise.index, values=filled)
        assert output.right, output.text
    for values, hint in WRONG[n]:
        output = play.run(exercise.index, values=values)
        assert output.right is False
        assert hint in output.text


def test_answer_knows_the_prediction(play):
    question = next(cell for cell in play.lesson.cells if cell.kind == "question")
    answer = next(cell for cell in play.lesson.cells if cell.kind == "answer")
    letters = play.names[
        next(k for k, v in play.names.items() if type(v).__name__ == "Question")
    ].letters
    told = []
    for letter in letters:
        play.run(question.index, choice=letter)
        told.append(play.run(answer.index).right)
    assert sorted(told) == [False] * (len(letters) - 1) + [True]


def test_the_guide_does_what_it_says():
    guide = Path(__file__).parents[2] / "docs" / "guide" / "journey.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    exec(blocks[0], {})


def test_bad_input():
    play = Play(lesson(0))
    exercise = next(cell for cell in play.lesson.cells if cell.kind == "exercise")
    question = next(cell for cell in play.lesson.cells if cell.kind == "question")
    with pytest.raises(WhenceError, match="no blank 'rat'"):
        play.run(exercise.index, values={"rat": 1})
    for bad in ("__import__('os')", "nan", float("inf"), None):
        with pytest.raises(WhenceError, match="number"):
            play.run(exercise.index, values={"rate": bad})
    with pytest.raises(WhenceError, match="'z' isn't an answer"):
        play.run(question.index, choice="z")
    with pytest.raises(WhenceError, match="no cell 99"):
        play.run(99)
    with pytest.raises(WhenceError, match="no lesson 'fifty'"):
        lesson("fifty")
