"""`whence classify`: text by its words against scikit-learn, images by the MLP."""

import json
import random

import pytest
from sklearn.linear_model import LogisticRegression

from whence.cli.small.classifying.classify import classify
from whence.errors import WhenceError
from whence.play.texts.labelled import labelled
from whence.play.texts.messages import MESSAGES
from whence.play.texts.words import (
    Labelled,
    WordClassifier,
    classification_loss,
    confusion,
    read_labelled,
    words,
)
from whence.scalar import Adam
from whence.train.loop import train


def record(capsys, *arguments, **options):
    classify(*arguments, json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_spam(capsys):
    found = record(capsys, "spam", ask="free cash prize, call now")
    assert found["labels"] == ["ham", "spam"]
    assert found["right"] >= 13
    assert found["held_out"] == 15
    assert sum(map(sum, found["confusion"])) == 15
    assert found["asked"]["said"] == "spam"
    terms = found["receipt"]["terms"]
    assert {"bias", "free", "cash", "prize"} <= {term["label"] for term in terms}
    total = 0.0
    for term in terms:
        total += term["value"]
    assert total == found["receipt"]["value"]


def test_what_it_prints(capsys):
    classify("spam", decay=0.5, steps=3)
    text = capsys.readouterr().out
    assert "true \\ said" in text
    assert "the weights that decide" in text
    assert "the most confident mistakes" in text or "no mistakes" in text


def test_real_text(capsys):
    found = record(capsys, "code", steps=30)
    assert found["right"] > 0.8 * found["held_out"]


def test_softmax_over_several_classes(tmp_path, capsys):
    path = tmp_path / "my lines.tsv"
    draw = random.Random(0)
    kinds = {
        "fruit": "apple pear plum fig",
        "tool": "saw hammer file plane",
        "bird": "finch owl crow wren",
    }
    rows = [
        f"{kind}\tthe {draw.choice(names.split())} and a {draw.choice(names.split())}"
        for kind, names in kinds.items()
        for _ in range(20)
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    found = record(capsys, str(path))
    assert found["right"] == found["held_out"] == 15
    assert len(found["weights"]) == 3


def test_it_reaches_logistic_regression():
    lines = MESSAGES
    model = WordClassifier(lines)
    C, n = 1.0, len(lines)

    class Whole:
        def __getitem__(self, step):
            return [(1.0, lines)]

    optimizer = Adam(model.parameters(), 0.05)
    for step, _ in train(model, Whole(), classification_loss(1 / (C * n)), optimizer, range(400)):
        if step == 250:
            optimizer.learning_rate = 0.005
    X = [[float(w in set(words(line.text))) for w in model.vocabulary] for line in lines]
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(X, [x.label for x in lines])
    assert theirs.classes_.tolist() == model.labels
    ours = [model.weights[0][w].data for w in model.vocabulary]
    assert ours == pytest.approx(theirs.coef_[0].tolist(), abs=2e-3)
    assert model.biases[0].data == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_images(capsys):
    found = record(capsys, "images", steps=250)
    assert found["right"] > 0.9 * found["held_out"]
    assert len(found["confusion"]) == 10
    for mistake in found["mistakes"]:
        receipt = mistake["receipt"]
        assert abs(receipt["residual"]) <= receipt["bound"]
        assert receipt["value"] > 0
    classify("images", steps=20, hidden=())
    assert "true \\ said" in capsys.readouterr().out


def test_bad_files(tmp_path):
    with pytest.raises(WhenceError, match="isn't a file"):
        labelled("nothing.tsv")
    path = tmp_path / "bad.tsv"
    for text, says in (
        ("spam\thello\nham\n", "row 2: a line must be a label"),
        ("spam\thello\nspam\thi\n", "has 1 class in 2 lines"),
        ("a\tx\nb\ty\nc\tz\n", "is the first column the label"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(WhenceError, match=says):
            read_labelled(path)
    path.write_text('ham,"hello, you"\nspam,win\nham,a\nspam,b\n', encoding="utf-8")
    assert read_labelled(path)[0] == Labelled("ham", "hello, you")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WhenceError, match="not UTF-8"):
        read_labelled(path)
    with pytest.raises(WhenceError, match="cannot be read"):
        read_labelled(tmp_path / "none")
    with pytest.raises(WhenceError, match="one step or more"):
        classify("spam", steps=0)


def test_words_and_confusion():
    assert words("Win £1,000 NOW! Don't wait") == ["win", "£", "#", "now", "!", "don't", "wait"]
    assert confusion(["a", "b", "b"], ["b", "b", "a"], ["a", "b"]) == [[0, 1], [1, 1]]
