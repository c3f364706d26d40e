"""An encoder that names classes, from the command line, on lines of the user's own."""

import json
import random

import pytest

from tests.cli.command import whence
from whence.runs.run import Run

SMALL = ["--model", "encoder", "--model.n-layers", 1, "--model.d-model", 16, "--batch-size", 16]
SMALL += ["--hardware.precision", "fp32", "--hardware.threads", 1]
SIZES = ("tiny", "huge", "great", "small")


def lines(n: int) -> list[str]:
    """Which of two animals bites: the order of the words decides."""
    chance = random.Random(0)
    made = []
    for _ in range(n):
        first, second = chance.sample(["dog", "man"], 2)
        made.append(f"{first}\tthe {chance.choice(SIZES)} {first} bites the {second} today\n")
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("my labels")
    (folder / "bites.tsv").write_text("".join(lines(200)), encoding="utf-8")
    words = ["train", folder / "bites.tsv", "--out", folder / "run", "--steps", 80]
    words += ["--optimizer.learning-rate", 0.01]
    assert whence(*words, *SMALL) == 0
    return Run.open(folder / "run")


def test_it_learns_resumes_and_is_measured(run, capsys):
    assert run.recipe.model.classes == ("dog", "man")
    assert run.evals[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # ln 2: it knows nothing
    assert run.evals[-1]["exact_match"] == 1
    assert whence("resume", run.path, "--steps", 90) == 0
    assert whence("verify", run.path) == 0
    capsys.readouterr()
    assert whence("evaluate", run.path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["exact_match"] == 1
    other = "man\tthe small man bites the dog today\n"
    assert run.evaluate(other).exact_match == 1
    assert run.evaluate(other.replace("man\t", "dog\t")).exact_match == 0


def test_it_is_asked(run, capsys):
    for first, second in (("dog", "man"), ("man", "dog")):
        text = f"the huge {first} bites the {second} today"
        assert whence("classify", run.path, "--ask", text, "--json") == 0
        asked = json.loads(capsys.readouterr().out)["asked"]
        assert asked["said"] == first
        assert sum(asked["probabilities"].values()) == pytest.approx(1)
    assert whence("generate", run.path, "the dog") == 2
    assert "whence classify" in capsys.readouterr().err


def test_texts_and_words_in_context_are_compared(run, capsys):
    texts = ("the tiny dog bites the man today", "the great dog bites the man today")
    other = "the great man bites the dog today"
    assert whence("embed", run.path, *texts, other, "--json") == 0
    found = json.loads(capsys.readouterr().out)["cosines"]
    assert found[0][0] == pytest.approx(1, abs=1e-5)
    assert found[0][1] == pytest.approx(found[1][0])
    assert found[0][1] > found[0][2]
    assert whence("embed", run.path, *texts, other, "--word", "dog") == 0
    assert "cosine of 'dog' in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("one text",), "give two or more"),
        (("the dog", "the man", "--word", "cat"), "'cat' isn't in"),
        (("the dog", "the man", "--word", "dog"), "'dog' isn't in"),
        (("the dog", " ".join(["dog"] * 99)), "give 1 to 96"),
    ],
)
def test_what_can_not_be_compared_is_told(run, words, said, capsys):
    assert whence("embed", run.path, *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a text without labels\n" * 9, "bad.tsv is 'a text without labels'"),
        ("dog\tone\n" * 30, "the text has 1 class(es)"),
        ("dog\tone\n" * 30 + "man\ttwo\n" * 3, "shuffle the lines"),
        (
            "dog\tone\nman\ttwo\n" * 9 + "no label\n" + "dog\tone\nman\ttwo\n" * 9,
            "bad.tsv is 'no label'",
        ),
        ("dog\tone\nman\t\n" * 20, "bad.tsv is 'man"),
    ],
)
def test_bad_lines_are_refused_in_a_sentence(tmp_path, text, said, capsys):
    (tmp_path / "bad.tsv").write_text(text, encoding="utf-8")
    assert whence("train", tmp_path / "bad.tsv", "--out", tmp_path / "run", *SMALL) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
