"""The ladder on a small text: every rung in one table, saved runs, a report that stands alone."""

import json
import re
from dataclasses import replace

import pytest

from tests.cli.command import TEXT, whence
from whence.data import open_source, prepare
from whence.data.baselines import baselines
from whence.errors import WhenceError
from whence.experiments.training import ladder
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.scale.hardware import Hardware


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "cats and dogs.txt"
    path.write_text(TEXT * 4, encoding="utf-8")
    return path


def test_rungs_share_text_time_and_measure(text_file, tmp_path, capsys):
    out, html = tmp_path / "my ladder", tmp_path / "report.html"
    rungs = ("unigram", "2-gram", "5-gram", "bigram", "rnn")
    words = ["ladder", text_file, "--seconds-each", 0.4, "--rungs", *rungs, "--out", out]
    assert whence(*words, "--html", html, "--threads", 1, "--json", "--entropy", 0.1) == 0
    rows = {r["rung"]: r for r in json.loads(capsys.readouterr().out)["rungs"]}
    assert tuple(rows) == rungs
    assert rows["5-gram"]["bits_per_byte"] < rows["2-gram"]["bits_per_byte"]
    assert rows["2-gram"]["bits_per_byte"] < rows["unigram"]["bits_per_byte"]
    assert rows["rnn"]["bits_per_byte"] < rows["unigram"]["bits_per_byte"]
    for rung, row in rows.items():
        assert (
            row["bits_per_byte"]
            == Run.open(out / rung).evaluate(at="last", overlap=True).bits_per_byte
        )
    assert all(row["text"] and row["writing_tokens_per_second"] > 0 for row in rows.values())
    assert Run.open(out / "rnn").state in ("finished", "stopped")  # where steps became slower
    page = html.read_text(encoding="utf-8")
    assert "above the source" in page
    assert not re.search(r"https?:|src=|<script", page)
    # The unigram is the baseline that every run is told of.
    dataset = prepare(open_source(str(text_file)), "chars", None, 0.1, tmp_path / "text")
    baseline = next(f for f in baselines(dataset) if f.name == "unigram")
    assert rows["unigram"]["bits_per_byte"] == pytest.approx(baseline.bits_per_byte, rel=0.01)


def test_bad_input_is_told(text_file, tmp_path, capsys):
    assert whence("ladder", text_file, "--rungs", "rmn") == 2
    assert "did you mean rnn?" in capsys.readouterr().err
    assert whence("ladder", text_file, "--seconds-each", 0) == 2
    assert whence("ladder", text_file, "--html", tmp_path / "none" / "x.html") == 2


def test_a_rung_that_becomes_slow_is_stopped_and_measured_all_the_same(
    text_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(ladder, "_seconds_per_step", lambda *_: 1e-6)  # a million steps a second
    monkeypatch.setattr(ladder, "WRITTEN", 5)
    base = replace(Recipe(), hardware=Hardware(device="cpu", precision="fp32", threads=1))
    [row] = ladder.climb(str(text_file), 0.2, ["bigram"], tmp_path / "ladder", base)
    assert row.folder
    run = Run.open(row.folder)
    assert 0 < len(run.steps) < run.recipe.steps
    assert run.state == "stopped"
    assert row.bits_per_byte == pytest.approx(run.evaluate(at="last", overlap=True).bits_per_byte)


def test_a_ladder_that_was_broken_off_goes_on(text_file, tmp_path, monkeypatch):
    """One rung is done, the next is left in the middle of a step, the third not begun."""
    monkeypatch.setattr(ladder, "_seconds_per_step", lambda *_: 0.05)
    monkeypatch.setattr(ladder, "LATE", 1e9)  # however slow the machine is
    monkeypatch.setattr(ladder, "WRITTEN", 5)
    base = replace(Recipe(), hardware=Hardware(device="cpu", precision="fp32", threads=1))
    asked = (str(text_file), 0.5, ["bigram", "mlp", "unigram"], tmp_path / "ladder", base)
    train = Run.train

    def killed(self, *arguments, **options):
        for number, event in enumerate(train(self, *arguments, **options)):
            yield event
            if self.name == "mlp" and number > 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(Run, "train", killed)
    climbing = ladder.climb(*asked)
    first = next(climbing)
    with pytest.raises(KeyboardInterrupt):
        next(climbing)
    monkeypatch.setattr(Run, "train", train)
    record = (tmp_path / "ladder/bigram/steps.jsonl").read_bytes()
    again = list(ladder.climb(*asked))
    assert [row.rung for row in again] == ["bigram", "mlp", "unigram"]
    assert again[0].bits_per_byte == first.bits_per_byte
    assert (tmp_path / "ladder/bigram/steps.jsonl").read_bytes() == record
    assert all(Run.open(tmp_path / "ladder" / row.rung).state == "finished" for row in again)
    with pytest.raises(WhenceError, match="no ladder of this text, time and recipe was begun"):
        next(ladder.climb(str(text_file), 0.7, *asked[2:]))
