"""What a trained run is asked: probabilities, minimal pairs, context — against its own logits."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.cli.command import whence
from whence.experiments.common import Interval
from whence.experiments.text import context, preference
from whence.runs.questions.growth import growth
from whence.runs.questions.position import loss_by_context, loss_by_position
from whence.runs.questions.scores import log_probabilities, score
from whence.runs.run import Run


def told(capsys, *words):
    assert whence(*words) == 0
    return capsys.readouterr().out


# --- the probability of a text -------------------------------------------------------------------


def test_a_text_is_a_product_of_its_tokens(trained, capsys):
    run, text = Run.open(trained), "the cat sat"
    found = json.loads(told(capsys, "probability", trained, text, "--checkpoint", "last", "--json"))
    ids = torch.tensor([run.tokenizer.encode("\n" + text).astype(np.int64).tolist()])
    loss = F.cross_entropy(run.model("last")(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    assert found["ln_p"] == pytest.approx(-loss, abs=1e-5)
    assert found["p"] == pytest.approx(math.prod(t["p"] for t in found["tokens"]))
    assert found["perplexity"] == pytest.approx(math.exp(loss / len(text)), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(loss / math.log(2) / len(text), rel=1e-5)
    assert [t["token"] for t in found["tokens"]] == list(text)
    assert "perplexity" in told(capsys, "probability", trained, text)
    grown = growth(run, text[:10]).probabilities[-1]
    # Growth is of each prompt as it stands; this is of the text behind a line break.
    assert found["tokens"][0]["p"] == pytest.approx(grown[0], rel=1e-4)


def test_longer_texts_than_the_window_overlap_by_half(trained):
    run = Run.open(trained)
    model, ids = run.model("last"), run.tokenizer.encode("the cat sat on the mat.\n" * 3).tolist()
    found = log_probabilities(model, ids, 16)
    assert len(found) == len(ids) - 1
    for i in (1, 5, 16, 17, 24, 25, 40, len(ids) - 1):  # each with 8 to 16 tokens before it
        close = [
            model(torch.tensor([ids[i - n : i]]))[0, -1].log_softmax(-1)[ids[i]].item()
            for n in range(min(i, 8), min(i, 16) + 1)
        ]
        assert min(abs(found[i - 1] - x) for x in close) < 1e-5


def test_bad_texts_are_told(trained, capsys):
    assert whence("probability", trained, "") == 2
    assert "give a few words" in capsys.readouterr().err
    assert whence("probability", trained, "ß") == 2
    assert "'ß'" in capsys.readouterr().err


def test_counts_give_their_own_product(tmp_path, capsys):
    file = tmp_path / "pizza.txt"
    file.write_text("\nI like to eat.\nI like pizza.\n" * 4)
    out = tmp_path / "run"
    flags = ("--model.order", 2, "--model.smoothing", "mle", "--data.validation", 0)
    assert whence("train", file, "--model", "ngram", "--out", out, *flags) == 0
    found = score(Run.open(out), "I like")
    text = file.read_text()
    expected = sum(
        math.log(text.count(a + b) / text[:-1].count(a))
        for a, b in zip("\nI lik", "I like", strict=True)
    )
    assert found.total == pytest.approx(expected, abs=1e-5)


# --- minimal pairs -------------------------------------------------------------------------------


def test_minimal_pairs_of_a_file(trained, tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("the cat sat\tcat the sat\torder\nthe dog\tdog the\torder\nthe ß\tß the\n")
    found = json.loads(told(capsys, "prefer", trained, pairs, "--json"))["data"]
    run = Run.open(trained)
    for row in found["pairs"]:
        assert row["ln_p_better"] == pytest.approx(score(run, row["better"]).total)
        assert row["ln_p_better"] > row["ln_p_worse"]  # the text has nothing else
    assert [row["better"] for row in found["unread"]] == ["the ß"]
    text = told(capsys, "prefer", trained, pairs, "--all-pairs")
    assert "1 left out" in " ".join(text.split())
    pairs.write_text("the same\tthe same\n")
    assert whence("prefer", trained, pairs) == 2
    assert "line 1: the two texts are the same" in capsys.readouterr().err


def test_what_it_prefers_is_said_by_the_intervals():
    high, low, open_ = Interval(0.9, 0.8, 0.97), Interval(0.2, 0.1, 0.3), Interval(0.6, 0.3, 0.8)
    said = preference.conclusion({"order": high, "facts": low, "style": open_})
    assert "prefers the better text more often than chance: order." in said
    assert "prefers the worse text more often than chance: facts." in said
    assert "Undecided, too few pairs to tell from chance: style." in said
    assert "Undecided" not in preference.conclusion({"order": high})


# --- loss by position ----------------------------------------------------------------------------


def test_loss_by_position_is_the_models_own(trained):
    run = Run.open(trained)
    found = loss_by_position(run, at="last")
    tokens = np.asarray(run.dataset.validation).astype(np.int64)
    rows = torch.from_numpy(np.stack([tokens[i : i + 17] for i in range(0, len(tokens) - 17, 16)]))
    logits = run.model("last")(rows[:, :-1])
    losses = F.cross_entropy(logits.mT, rows[:, 1:], reduction="none").detach().numpy()
    np.testing.assert_allclose(found.losses, losses, atol=1e-5)


def test_each_token_is_predicted_with_each_length_of_context(trained):
    run = Run.open(trained)
    found, model = loss_by_context(run, at="last"), run.model("last")
    assert found.contexts == [(1, 1), (2, 3), (4, 7), (8, 15)]
    ids = torch.from_numpy(np.asarray(run.dataset.validation).astype(np.int64))
    for (low, high), losses in zip(found.contexts, found.losses, strict=True):
        expected = []  # the first stretch: tokens 15 to 22, each by itself
        for i, t in enumerate(range(15, 23)):
            context = ids[t - low - i % low : t]
            assert low <= len(context) <= high
            expected.append(F.cross_entropy(model(context[None])[0, -1], ids[t]).item())
        assert losses[0] == pytest.approx(np.mean(expected), abs=1e-5)


def test_context_that_helps_is_seen_to_help(tmp_path, capsys):
    """Each letter follows from the two before it, and from one alone nothing does."""
    letters, draw = "ab", np.random.default_rng(0)
    for _ in range(8000):
        told_by = "abcd"[sum(map(ord, letters[-2:])) % 4]
        letters += told_by if draw.random() < 0.9 else draw.choice(list("abcd"))
    file = tmp_path / "twice.txt"
    file.write_text(letters)
    out = tmp_path / "run"
    assert whence("train", file, "--out", out, "--model", "ngram", "--model.order", 3) == 0
    capsys.readouterr()
    assert "Does more context make better predictions?" in told(capsys, "context", out, file)
    found = json.loads(told(capsys, "context", out, file, "--json"))
    assert found["answer"].startswith("Yes, up to 3 tokens")
    _, low, high = found["data"]["gains"][0]
    known, other = 0.9 + 0.1 / 4, 0.1 / 4  # ln 4, less the entropy of a letter given two
    entropy = -known * math.log(known) - 3 * other * math.log(other)
    assert low < math.log(4) - entropy < high


def test_what_context_buys_is_said_by_the_intervals():
    stretches = [(1, 1), (2, 3), (4, 7), (8, 15)]
    yes, no, worse = Interval(0.3, 0.2, 0.4), Interval(0.0, -0.1, 0.1), Interval(-0.3, -0.4, -0.2)

    def said(stretches, gains, whole=yes):
        return context.conclusion(stretches, gains, whole)

    assert said(stretches, [yes, yes, yes]).endswith("a longer one may buy more.")
    assert "Yes, up to 7 tokens" in said(stretches, [yes, yes, no])
    assert "this text doesn't show" in said(stretches, [yes, yes, no])
    assert said(stretches, [no, no, no]).startswith("Undecided")
    assert said(stretches, [worse, no, no], no).startswith("No")
    assert said(stretches, [yes, no, worse], worse).startswith("No")
    assert "some doublings help, but" in said(stretches, [yes, no, worse], no)
    assert "With 8 to 15 tokens before it, it predicts worse" in said(stretches, [yes, no, worse])
