"""Which lines of pairs and labels are held out: all that are whole, and no others."""

from dataclasses import replace

import pytest

from tests.cli.command import whence
from tests.runs.tiny import PAIRS as COUNTS
from tests.runs.tiny import RUNGS, make
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.tasks.pairs import pairs_of

PAIRS = [f"{c}{d}\t{d}{c}" for c in "abcde" for d in "abcd"]
LABELS = [f"{('one', 'two')[d < 'c']}\t{c}{d}" for c in "abcde" for d in "abcd"]
SMALL = ["--model.n-layers", 1, "--model.d-model", 8, "--steps", 1, "--batch-size", 4]
SMALL += ["--data.tokenizer", "chars", "--hardware.threads", 1]
KINDS = [("seq2seq", PAIRS), ("encoder", LABELS)]


def sides(path, kind: str, *words: object) -> list[list[str]]:
    """Train one step; give the lines that are trained on and those held out."""
    assert whence("train", *words, "--out", path, "--model", kind, *SMALL) == 0
    task = Run.open(path).task
    decode = task.dataset.tokenizer.decode
    if kind == "seq2seq":
        return [[decode(line).rstrip("\n") for line in side] for side in task.pairs]
    classes = task.config.classes
    return [
        [f"{classes[c]}\t{decode(text)}" for text, c in zip(texts, labels, strict=True)]
        for texts, labels, _ in task.lines
    ]


@pytest.mark.parametrize(("kind", "lines"), KINDS)
@pytest.mark.parametrize("last", ["", "\n"], ids=["open", "ended"])
def test_every_line_of_a_validation_text_counts(kind, lines, last, tmp_path):
    (tmp_path / "train.tsv").write_text("\n".join(lines) + last, encoding="utf-8")
    (tmp_path / "held.tsv").write_text("\n".join(lines[5:9]) + last, encoding="utf-8")
    words = [tmp_path / "train.tsv", "--data.validation-source", tmp_path / "held.tsv"]
    assert sides(tmp_path / "run", kind, *words) == [lines, lines[5:9]]


@pytest.mark.parametrize(("kind", "lines"), KINDS)
def test_a_split_between_two_lines_leaves_none_out(kind, lines, tmp_path):
    (tmp_path / "text.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for share, of in ((0.2, 16), (0.1, 18)):  # all lines are of one length
        words = [tmp_path / "text.tsv", "--data.validation", share]
        assert sides(tmp_path / f"run-{share}", kind, *words) == [lines[:of], lines[of:]]


@pytest.mark.parametrize(("kind", "lines"), KINDS)
def test_a_line_that_the_split_cuts_is_left_out(kind, lines, tmp_path):
    (tmp_path / "text.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [tmp_path / "text.tsv", "--data.validation", 0.23]  # within the 16th line
    assert sides(tmp_path / "run", kind, *words) == [lines[:15], lines[16:]]


def test_each_side_of_a_pair_may_fill_the_window(tmp_path):
    run = make(tmp_path / "run", RUNGS["seq2seq"])
    longest = len("99 bottles")  # the other side is 4: three digits and the end
    assert pairs_of(run.dataset, replace(run.recipe.model, context_length=longest))
    with pytest.raises(WhenceError, match=rf"a side of {longest} tokens, but the model reads 9"):
        pairs_of(run.dataset, replace(run.recipe.model, context_length=9))


def test_a_batch_of_pairs_has_as_many_tokens_as_its_lines(tmp_path):
    run = make(tmp_path / "run", RUNGS["seq2seq"])
    lengths = {len(line) for line in COUNTS.splitlines(keepends=True)}
    assert lengths == {len("99 bottles\t099\n")}
    assert run.task.tokens_per_step == run.recipe.batch_size * lengths.pop()
