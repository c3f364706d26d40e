"""The ladder on a small text: every rung in one table, saved runs, a report that stands alone."""

import json
import re

import pytest

from tests.cli.command import TEXT, whence
from whence.data import open_source, prepare
from whence.data.floors import floors
from whence.experiments import ladder
from whence.runs.run import Run


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
    assert all(row["text"] and row["writing_tokens_per_second"] > 0 for row in rows.values())
    run = Run.open(out / "rnn")
    assert run.state == ("stopped" if rows["rnn"]["cut"] else "finished")
    page = html.read_text(encoding="utf-8")
    assert "above the source" in page
    assert not re.search(r"https?:|src=|<script", page)
    # The unigram is the floor that every run is told of.
    dataset = prepare(open_source(str(text_file)), "chars", None, 0.1, tmp_path / "text")
    floor = next(f for f in floors(dataset) if f.name == "unigram")
    assert rows["unigram"]["bits_per_byte"] == pytest.approx(floor.bits_per_byte, rel=0.01)


def test_time_ends_a_rung_whose_steps_are_slower_than_tried(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "_seconds_per_step", lambda *_: 1e-5)  # plans 20,000 steps
    (row,) = ladder.climb(str(text_file), 0.2, ["mlp"], tmp_path / "out")
    run = Run.open(tmp_path / "out" / "mlp")
    spent = [r["seconds"] for r in run.steps]
    assert row.cut
    assert run.state == "stopped"
    assert sum(spent[:-1]) < 0.2 <= sum(spent) == pytest.approx(row.seconds, rel=1e-4)
    assert row.wall > row.seconds
    assert row.bits_per_byte == run.evaluate(at="last").bits_per_byte


def test_the_table_fits_80_columns(text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["--rungs", "5-gram", "ngram-gpt", "--out", tmp_path / "out", "--threads", 1]
    assert whence("ladder", text_file, "--seconds-each", 0.1, *words, "--entropy", 0.1) == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("bits per byte of") :]
    assert "ngram-gpt" in table
    assert "…" not in table
    assert all(len(line.rstrip()) <= 80 for line in table.split("saved in")[0].splitlines())


def test_bad_input_is_told(text_file, tmp_path, capsys):
    assert whence("ladder", text_file, "--rungs", "rmn") == 2
    assert "did you mean rnn?" in capsys.readouterr().err
    assert whence("ladder", text_file, "--seconds-each", 0) == 2
    assert whence("ladder", text_file, "--html", tmp_path / "none" / "x.html") == 2
