"""The sentence: the notes' figures, torch as the oracle of each number, and bad input."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from tests.cli.command import whence
from whence.errors import WhenceError
from whence.experiments.text.prediction import noted_positions, total_loss
from whence.experiments.text.sentence import MODELS, learn, make_model, open_sentence, positions


def test_the_notes_logits_give_their_figures():
    found = noted_positions()
    assert [round(p.probability, 6) for p in found] == [0.149377, 0.570649, 0.623455, 0.993535]
    assert [round(p.loss, 6) for p in found] == [1.901281, 0.560981, 0.472478, 0.006486]
    loss = total_loss(found)
    assert round(loss, 6) == 2.941226
    assert round(loss / 4, 6) == 0.735307
    assert round(math.exp(loss / 4), 6) == 2.086121
    slopes = dict(zip(found[0].words, found[0].gradient, strict=True))
    told = {w: round(slopes[w], 4) for w in ("we", "the", "hello", "is")}
    assert told == {"we": -0.8506, "the": 0.4488, "hello": 0.3008, "is": 0.0820}


def test_twelve_words_would_make_the_first_probability_smaller():
    first = noted_positions()[0]
    wide = [*first.logits, 0.0, 0.0, 0.0, 0.0]
    assert round(torch.tensor(wide).softmax(0)[0].item(), 4) == 0.1392


@pytest.mark.parametrize("kind", MODELS)
def test_every_number_of_a_step_equals_torchs(kind):
    sentence = open_sentence("we love deep learning", end=True)
    model, oracle = make_model(kind, sentence, seed=3), make_model(kind, sentence, seed=3)
    course = learn(model, sentence, steps=2, rate=0.1, show=[0])
    ids = sentence.ids
    logits = oracle(ids[None, :-1])[0]
    loss = F.cross_entropy(logits, ids[1:], reduction="sum")
    loss.backward()
    shown = course.snapshots[0]
    assert course.losses[0] == pytest.approx(loss.item(), rel=1e-12)
    expected = (logits.softmax(-1) - F.one_hot(ids[1:], 12)).detach()
    found = torch.tensor([p.gradient for p in shown.positions], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    sgd = torch.optim.SGD(oracle.parameters(), lr=0.1)
    sgd.step()
    named = dict(oracle.named_parameters())
    for update in shown.updates:
        torch.testing.assert_close(update.gradient, named[update.name].grad)
        torch.testing.assert_close(update.after, named[update.name].detach())


def test_thirty_six_parameters_learn_the_sentence():
    sentence = open_sentence("we love deep learning")
    model = make_model("scalars", sentence)
    course = learn(model, sentence, steps=1000)
    assert course.n_parameters == 36
    assert course.losses[0] == pytest.approx(4 * math.log(12), abs=0.6)
    # 0.0376 is what the notes' own first weights come to; others come close to it.
    assert course.losses[1000] == pytest.approx(0.0376, abs=0.003)
    assert course.perplexity(1000) == pytest.approx(math.exp(course.losses[1000] / 4))
    assert all(step is not None for step in course.learned_at())
    ranked = [p.top(1)[0][0] for p in course.snapshots[1000].positions]
    assert ranked == ["we", "love", "deep", "learning"]


def test_a_wide_net_starts_from_knowing_nothing_and_the_mean_goes_slower():
    sentence = open_sentence("we love deep learning")
    runs = [
        learn(make_model("mlp", sentence), sentence, steps=20, mean=mean) for mean in (False, True)
    ]
    assert runs[0].losses[0] == pytest.approx(4 * math.log(12))
    assert runs[0].losses[20] < runs[1].losses[20] < runs[0].losses[0]


def test_context_holds_bos():
    sentence = open_sentence("we love deep learning")
    found = positions(sentence, torch.zeros(4, 12))
    assert found[2].context == ("<BOS>", "we", "love")
    assert found[2].loss == pytest.approx(math.log(12))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: open_sentence("we love sushi", ["we", "love"]), "'sushi' is not in"),
        (lambda: open_sentence("  "), "no words"),
        (lambda: open_sentence("we", ["we", "we"]), "'we' twice"),
        (lambda: make_model("gtp", open_sentence("we")), "no sentence model 'gtp'"),
        (lambda: learn(make_model("rnn", open_sentence("we")), open_sentence("we"), steps=3,
                       show=[3]), "step 3 can't be shown"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_a_sentence(make, words):
    with pytest.raises(WhenceError, match=words):
        make()


def test_the_command_prints_every_number_and_json(capsys, tmp_path):
    words = ("sentence", "we love deep learning", "--steps", "40", "--show", "0", "5")
    assert whence(*words) == 0
    printed = capsys.readouterr().out
    assert "36 parameters" in printed
    assert "read[last word] · write[w]" in printed
    assert "step 5" in printed
    assert "P above one half" in printed
    assert whence(*words, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["losses"]) == 41
    updates = document["steps"][1]["updates"]["bias"]
    rows = zip(updates["before"], updates["gradient"], updates["after"], strict=True)
    for before, gradient, after in rows:
        assert after == pytest.approx(before - 0.1 * gradient)
    assert whence("sentence", "--notes") == 0
    assert "= 2.941226" in capsys.readouterr().out
    assert whence("sentence", "we love sushi", "--vocabulary", "we", "love") == 2


def test_first_weights_can_be_given(capsys, tmp_path):
    path = tmp_path / "my weights.json"
    path.write_text(json.dumps({name: [0.0] * 12 for name in ("read", "write", "bias")}), "utf-8")
    assert whence("sentence", "--weights", path, "--steps", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["losses"][0] == pytest.approx(4 * math.log(12))
    path.write_text('{"read": [1, 2]}', "utf-8")
    assert whence("sentence", "--weights", path, "--steps", 1) == 2
    assert "write [12]" in capsys.readouterr().err
