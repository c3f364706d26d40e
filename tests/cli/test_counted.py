"""A counted n-gram is a run like any other: each verb on its folder."""

import itertools
import json
import math
import shutil
from collections import Counter

import pytest

from tests.cli.command import TEXT, whence
from whence.runs.run import Run
from whence.runs.store.chain import note
from whence.runs.store.header import Header


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted runs")
    (folder / "cats.txt").write_text(TEXT, encoding="utf-8")
    words = ["--model", "ngram", "--model.order", 2, "--model.smoothing", "add-k"]
    assert whence("train", folder / "cats.txt", "--out", folder / "run", *words) == 0
    return folder / "run"


def test_the_record_has_the_loss_of_the_counts(counted):
    run = Run.open(counted)
    assert run.state == "finished"
    assert [r["tokens"] for r in run.steps] == [len(run.dataset.train)]
    train, V = run.dataset.train.tolist(), run.tokenizer.vocab_size
    pairs, ones = Counter(itertools.pairwise(train)), Counter(train)
    before = Counter(train[:-1])

    def p(a: int, b: int) -> float:
        return (pairs[a, b] + 1) / (before[a] + V)

    nats = -math.log((ones[train[0]] + 1) / (len(train) + V))
    nats -= sum(math.log(p(a, b)) for a, b in itertools.pairwise(train))
    assert run.steps[0]["loss"] == pytest.approx(nats / len(train), rel=1e-6)
    held = run.dataset.validation.tolist()
    nats = -sum(math.log(p(a, b)) for a, b in itertools.pairwise(held)) / (len(held) - 1)
    assert run.evals[-1]["loss"] == pytest.approx(nats, rel=1e-6)
    assert run.evaluate().loss == pytest.approx(nats, rel=1e-6)


def test_it_is_evaluated_writes_and_is_listed(counted, capsys):
    assert whence("evaluate", counted, "--json") == 0
    loss = json.loads(capsys.readouterr().out)["loss"]
    assert loss == Run.open(counted).evals[-1]["loss"]
    assert whence("generate", counted, "the ", "--greedy", "--max-tokens", 7, "--no-stream") == 0
    assert capsys.readouterr().out.startswith("the ")
    assert whence("generate", counted, "the ", "--show-probabilities", "--max-tokens", 2) == 0
    assert "P before" in capsys.readouterr().out
    assert whence("runs", "--folder", counted.parent, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)["runs"]
    assert (row["state"], row["model"], row["done"]) == ("finished", "ngram", 1)
    assert whence("verify", counted) == 0
    assert "every bit equal" in capsys.readouterr().out


def test_resume_says_why_there_is_nothing_to_do(counted, capsys):
    assert whence("resume", counted) == 2
    assert "counting it again would change nothing" in capsys.readouterr().err
    assert whence("resume", counted, "--steps", 9) == 2
    assert "reads its text once" in capsys.readouterr().err


def test_a_run_killed_before_it_counted_counts_when_resumed(counted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(counted, copy)
    shutil.rmtree(copy / "checkpoints")
    note(copy, Header.read(copy), [])
    assert whence("resume", copy) == 0
    again, before = Run.open(copy), Run.open(counted)
    assert again.steps[0]["loss_hex"] == before.steps[0]["loss_hex"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        mine = (copy / "checkpoints" / "000001" / name).read_bytes()
        assert mine == (counted / "checkpoints" / "000001" / name).read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("rewind", "--step", 1),
        ("fork", "--step", 0, "--out", "elsewhere"),
        ("what-if", "--without", "the cat"),
        ("gradcheck",),
    ],
)
def test_what_needs_steps_is_refused_in_a_sentence(counted, words, capsys):
    assert whence(words[0], counted, *words[1:]) == 2
    assert "is a counted model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model.order", 0), "order is 0"),
        (("--steps", 5), "reads its text once"),
        (("--model.smoothing", "add-k", "--model.k", 0), "k is 0"),
        (("--change.freeze", "table"), "drop change"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(text_file, tmp_path, words, said, capsys):
    assert whence("train", text_file, "--out", tmp_path / "r", "--model", "ngram", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_tiny_text_says_that_it_falls_back(tmp_path, capsys):
    (tmp_path / "eat.txt").write_text("I like to eat. I like pizza.\n", encoding="utf-8")
    words = ("--model", "ngram", "--data.validation", 0.2, "--out", tmp_path / "r")
    assert whence("train", tmp_path / "eat.txt", *words, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["text"][:8] for e in lines if e["event"] == "note"] == ["Order 1:", "Order 2:"]
    assert math.isfinite(Run.open(tmp_path / "r").evals[-1]["loss"])


def test_two_sentences_counted_as_words_give_a_textbooks_figures_and_say_what_counts_sentences(
    tmp_path, capsys
):
    (tmp_path / "eat.txt").write_text("I like to eat. I like pizza.", encoding="utf-8")
    words = ("--model", "ngram", "--model.order", 2, "--model.smoothing", "mle")
    words += ("--data.tokenizer", "words", "--data.validation", 0, "--out", tmp_path / "r")
    assert whence("train", tmp_path / "eat.txt", *words) == 0
    assert "'whence count FILE' counts the words of sentences" in " ".join(
        capsys.readouterr().out.split()
    )
    for prompt, following in (("I", {" like": 1.0}), ("I like", {" to": 0.5, " pizza": 0.5})):
        flags = ("--max-tokens", 1, "--show-probabilities", "--json")
        assert whence("generate", tmp_path / "r", prompt, *flags) == 0
        [sample] = json.loads(capsys.readouterr().out)["samples"]
        seen = {c["token"]: c["before"] for c in sample["tokens"][0]["candidates"] if c["before"]}
        assert seen == pytest.approx(following)


def test_probability_0_is_told(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("ab" * 90 + "bb" * 10, encoding="utf-8")
    words = ("--model", "ngram", "--model.smoothing", "mle", "--out", tmp_path / "r")
    assert whence("train", tmp_path / "a.txt", *words) == 0
    assert "probability 0" in capsys.readouterr().out
    assert whence("evaluate", tmp_path / "r") == 0
    assert "probability 0" in capsys.readouterr().out


@pytest.mark.parametrize("tokenizer", ["chars", "words", "bpe"])
def test_every_tokenizer_and_a_memory_limit(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text(TEXT * 10, encoding="utf-8")
    words = ("--model", "ngram", "--model.order", 3, "--data.tokenizer", tokenizer)
    limit = ("--model.memory-mb", 1, "--data.vocab-size", 300)
    limit = limit if tokenizer != "chars" else limit[:2]
    assert whence("train", tmp_path / "a.txt", *words, *limit, "--out", tmp_path / "r") == 0
    run = Run.open(tmp_path / "r")
    assert run.evals[-1]["bits_per_byte"] < 1
    assert run.generate("the ", max_tokens=5, seed=1)
