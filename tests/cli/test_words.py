"""Words that don't fit: one sentence, the nearest name, exit code 2, for every verb alike."""

import pytest

from tests.cli.command import whence
from whence.cli import VERBS

REFUSED = {
    "train --stepz 3": "--stepz isn't a flag of 'whence train': did you mean --steps?",
    "train --model gpt2 --model.n-layer 3": "did you mean --model.n-layers?",
    "train --steps x": "--steps is 'x': give a whole number.",
    "train --optimizer.learning-rate abc": "--optimizer.learning-rate is 'abc': give a number.",
    "train --data.tokenizer foo": "is 'foo': choose from auto, chars, bytes, words, bpe",
    "train --steps": "--steps needs a value",
    "generate runs/x --temprature 3": "did you mean --temperature?",
    "generate runs/x --top-k q": "--top-k is 'q': give a whole number.",
    "generate runs/x a b": "'b' is one argument too many",
    "evaluate": "'whence evaluate' needs PATH (the run's folder, such as runs/topics-1): ",
    "fork x": "needs --step INT (the first step that may differ) and --out PATH (the new run's ",
    "runs --foo": "--foo isn't a flag of 'whence runs': 'whence runs --help' lists them.",
}


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_one_sentence(words, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert whence(*words.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("whence: ")
    assert told.err.count("\n") == 1
    assert REFUSED[words] in told.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_flag_it_does_not_know(verb, capsys):
    assert whence(verb, "--no-such-flag-at-all") == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err


def test_help_stays_help(capsys):
    assert whence("train", "--help") == 0
    assert "--model.n-layers INT" in capsys.readouterr().out
