"""Which lines of pairs and labels are held out: all that are whole, and no others."""

import pytest

from tests.cli.command import whence
from whence.runs.run import Run

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
