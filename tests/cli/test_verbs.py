"""`whence generate`, `whence evaluate` and `whence runs`, as a person calls them."""

import json
import math
import shutil

import pytest

import whence.cli.training.runs as runs_module
from tests.cli.command import TEXT, TINY, whence
from whence.runs.run import Run


def output(capsys, *words):
    assert whence(*words) == 0
    return capsys.readouterr().out


def test_a_seed_gives_one_text(trained, capsys):
    texts = [output(capsys, "generate", trained, "the ", "--seed", s) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the ")


def test_streaming_gives_the_same_text(trained, capsys):
    whole = output(capsys, "generate", trained, "the ", "--no-stream")
    assert output(capsys, "generate", trained, "the ", "--stream") == whole


def test_greedy_is_temperature_zero_and_top_one(trained, capsys):
    words = ["generate", trained, "the ", "--max-tokens", 30]
    greedy = output(capsys, *words, "--greedy")
    assert output(capsys, *words, "--temperature", 0) == greedy
    assert output(capsys, *words, "--top-k", 1) == greedy


def test_stop_and_samples(trained, capsys):
    printed = output(capsys, "generate", trained, "the ", "--stop", "\\n", "--samples", 3, "--json")
    samples = json.loads(printed)["samples"]
    assert len(samples) == 3
    assert all("\n" not in s["text"] for s in samples)
    assert any(s["finished"] == "stop" for s in samples)


def test_probabilities_before_and_after(trained, capsys):
    words = ["generate", trained, "the ", "--max-tokens", 2, "--top-k", 3, "--show-probabilities"]
    document = json.loads(output(capsys, *words, "--candidates", 30, "--json"))
    for token in document["samples"][0]["tokens"]:
        rows = token["candidates"]
        assert math.isclose(sum(r["before"] for r in rows), 1, abs_tol=1e-5)
        kept = [r for r in rows if r["dropped_by"] is None]
        assert len(kept) == 3
        assert math.isclose(sum(r["after"] for r in kept), 1, abs_tol=1e-5)
        assert [r["token_id"] for r in rows if r["drawn"]] == [token["token_id"]]
    printed = output(capsys, *words)
    assert "P before" in printed
    assert "dropped by" in printed


def test_evaluate_whole_text(trained, tmp_path, capsys):
    path = tmp_path / "other.txt"
    path.write_text(TEXT[:300])
    record = json.loads(output(capsys, "evaluate", trained, path, "--json"))
    assert record["tokens"] == 299
    assert record["bits_per_byte"] == pytest.approx(record["loss"] / math.log(2))
    assert record["perplexity"] == pytest.approx(math.exp(record["loss"]))
    assert record["loss"] == Run.open(trained).evaluate(TEXT[:300]).loss
    assert "validation part" in output(capsys, "evaluate", trained)


def test_listing_and_removing(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no runs in runs" in output(capsys, "runs")
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(trained, copy)
    printed = output(capsys, "runs")
    assert "copy" in printed
    assert "finished" in printed
    [row] = json.loads(output(capsys, "runs", "--json"))["runs"]
    files = [p for p in copy.rglob("*") if p.is_file() and p.name != ".summary.json"]  # the list's
    assert row["disk"] == sum(p.stat().st_size for p in files)
    assert whence("runs", "remove", copy) == 2
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr(runs_module.sys, "stdin", type("Tty", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert "kept" in output(capsys, "runs", "remove", copy)
    assert copy.exists()
    assert "removed" in output(capsys, "runs", "remove", copy, "--yes")
    assert not copy.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "nowhere"], "there is no run at nowhere"),
        (["generate", "RUN", "∮"], "isn't among the"),
        (["generate", "RUN", "--temperature", "-1"], "temperature is -1.0"),
        (["generate", "RUN", "--top-p", "1.5"], "top_p is 1.5"),
        (["generate", "RUN", "--checkpoint", "7000"], "has no step 7,000: it has done"),
        (["generate", "RUN", "--checkpoint", "first"], "give best, last or a step"),
        (["evaluate", "RUN", "nowhere.txt"], "doesn't exist"),
        (["runs", "remove"], "name the runs to remove"),
        (["resume", "nowhere"], "there is no run at nowhere"),
    ],
)
def test_bad_input_is_one_sentence(words, message, trained, capsys):
    assert whence(*[str(w).replace("RUN", str(trained)) for w in words]) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert "\n" not in told


def test_bits_per_byte_counts_the_bytes_of_unknown_words(text_file, tmp_path, capsys):
    """The denominator is the text's true size, also where words are unknown."""
    run = tmp_path / "run"
    words = ["--data.tokenizer", "words", "--data.vocab-size", 8, "--data.validation", 0.3]
    assert whence("train", text_file, "--out", run, "--steps", 2, *TINY, *words) == 0
    other = tmp_path / "other.txt"
    other.write_text("the extraordinarily long cat sät on the mat.\n" * 20, encoding="utf-8")
    capsys.readouterr()
    record = json.loads(output(capsys, "evaluate", run, other, "--json"))
    assert record["bytes"] == other.stat().st_size - len("the")
    assert record["unknown"] >= 60
    assert record["bits_per_byte"] == pytest.approx(
        record["loss"] / math.log(2) * record["tokens"] / record["bytes"]
    )
    assert "spelling costs nothing" in output(capsys, "evaluate", run, other)
    dataset = Run.open(run).dataset
    assert dataset.bytes_behind(dataset.validation) == dataset.n_bytes_validation


def test_bytes_of_characters_beyond_ascii(tmp_path, capsys):
    text = tmp_path / "umlauts.txt"
    text.write_text("äöü grün über öl\n" * 60, encoding="utf-8")
    run = tmp_path / "run"
    assert whence("train", text, "--out", run, "--steps", 2, *TINY) == 0
    capsys.readouterr()
    record = json.loads(output(capsys, "evaluate", run, text, "--json"))
    assert record["bytes"] == text.stat().st_size - len("ä".encode())


def test_what_cannot_be_generated_is_refused(trained, capsys):
    assert whence("generate", trained, "--samples", 10**8) == 2
    assert "at most 4096" in capsys.readouterr().err
    assert whence("generate", trained, "--seed", 10**30) == 2
    assert "below 2^63" in capsys.readouterr().err
