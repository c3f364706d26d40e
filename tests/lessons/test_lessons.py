"""Every lesson runs whole, its key figures are the known ones, and its exercise judges rightly."""

import pytest

from whence.errors import WhenceError
from whence.lessons import Play, lesson, lessons

# For each lesson: values that solve its exercise, and values that don't, with a word of the hint.
RIGHT = {0: [{"rate": 0.05}], 1: [{"distance": 1.36}]}
WRONG = {
    0: [
        ({"rate": 0.01}, "crawl"),
        ({"rate": 0.1}, "across"),
        ({"rate": 5}, "smaller"),
        ({"rate": -1}, "downhill"),
    ],
    1: [({"distance": 1}, "farther"), ({"distance": 9}, "nearer")],
}
# Figures that were worked out elsewhere: by hand, or in the project's statement.
FIGURES = {
    0: {"start_error": 20.25, "slope": -27.0, "measured": -27.0},
    1: {
        "start_slope": -560,
        "change_slope": -2240,
        "stepped_start": 496,
        "stepped_change": -49.1,
        "best_start": 585.9643,
        "best_change": -99.8454,
    },
}
NUMBERS = [found.n for found in lessons()]


@pytest.fixture(scope="module")
def plays() -> dict[int, Play]:
    """Lessons that have run, so that each runs once for all tests."""
    return {}


def played(plays: dict[int, Play], n: int) -> Play:
    if n not in plays:
        plays[n] = lesson(n).play()
        plays[n].all()
    return plays[n]


@pytest.mark.parametrize("n", NUMBERS)
def test_runs_whole(plays, n):
    play = played(plays, n)
    kinds = [output.kind for output in play.outputs.values()]
    assert kinds.index("question") < kinds.index("answer")
    assert "picture" in kinds
    assert "exercise" in kinds
    assert kinds.index("question") < kinds.index("picture")
    for output in play.outputs.values():
        if output.kind == "picture":
            assert output.svg.startswith("<svg")
            assert output.text
            assert len(output.table) > 1
        elif output.kind != "code":
            assert output.markdown


@pytest.mark.parametrize("n", NUMBERS)
def test_words_light_up_blocks(plays, n):
    outputs = played(plays, n).outputs.values()
    blocks = {block for output in outputs for block in output.blocks}
    for output in outputs:
        assert set(output.words.values()) <= blocks
        for block in output.blocks:
            assert f'data-block="{block}"' in output.svg


@pytest.mark.parametrize("n", NUMBERS)
def test_figures(plays, n):
    names = played(plays, n).names
    assert FIGURES[n]
    for name, value in FIGURES[n].items():
        assert names[name] == pytest.approx(value, abs=6e-5, rel=2e-6), name


@pytest.mark.parametrize("n", NUMBERS)
def test_exercise(plays, n):
    play = played(plays, n)
    exercise = next(cell for cell in play.lesson.cells if cell.kind == "exercise")
    assert not play.run(exercise.index).right  # as it stands it is unsolved
    for values in RIGHT[n]:
        output = play.run(exercise.index, values=values)
        assert output.right, output.text
    for values, hint in WRONG[n]:
        output = play.run(exercise.index, values=values)
        assert output.right is False
        assert hint in output.text


@pytest.mark.parametrize("n", NUMBERS)
def test_answer_knows_the_prediction(plays, n):
    play = played(plays, n)
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


def test_bad_input():
    play = lesson(0).play()
    exercise = next(cell for cell in play.lesson.cells if cell.kind == "exercise")
    question = next(cell for cell in play.lesson.cells if cell.kind == "question")
    with pytest.raises(WhenceError, match="no blank 'rat'"):
        play.run(exercise.index, values={"rat": 1})
    for bad in ("__import__('os')", "nan", float("inf"), None):
        with pytest.raises(WhenceError, match="number"):
            play.run(exercise.index, values={"rate": bad})
    with pytest.raises(WhenceError, match="'z' is no answer"):
        play.run(question.index, choice="z")
    with pytest.raises(WhenceError, match="no cell 99"):
        play.run(99)
    with pytest.raises(WhenceError, match="no lesson 'fifty'"):
        lesson("fifty")
