"""Figures and verdicts of the small verbs, against numpy, scikit-learn and sums worked apart."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from tests.cli.command import TINY, whence
from whence.cli.document import strict
from whence.experiments.text.sentence import make_model, open_sentence
from whence.experiments.text.sentences import SentenceCounts, sentences
from whence.models.small.axes import Spread, Turned
from whence.models.small.line import least_squares
from whence.play.rates import verdict
from whence.runs.run import Run


def told(capsys, *words):
    assert whence(*words) == 0
    return capsys.readouterr().out


def strictly(text):
    """Read JSON as a reader in another language does."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


# --- net -----------------------------------------------------------------------------------------


def test_a_rescue_that_fails_is_not_sold_as_one(tmp_path, capsys):
    csv = tmp_path / "steep.csv"
    csv.write_text("x,y\n" + "".join(f"{x},{50 * x}\n" for x in range(1, 9)))
    rescued = False
    for seed in range(2):
        words = ("net", "--data", csv, "--hidden", 2, "--learning-rate", 0.3, "--batch")
        found = strictly(told(capsys, *words, "--seed", seed, "--epochs", 30, "--json"))
        text = told(capsys, *words, "--seed", seed, "--epochs", 30)
        if "rerun" in found and found["rerun"]["better"]:
            last, was = found["rerun"]["epochs"][-1], found["epochs"][-1]
            assert last is not None
            assert was is None or last < was
            rescued = True
            assert "nan" not in text.partition("nothing else changed")[2]
        elif "rerun" in found:
            assert "no smaller rate is a cure" in text
    assert rescued


def test_a_unit_dead_from_its_first_weights_is_named(tmp_path, capsys):
    weights = tmp_path / "mine.json"
    weights.write_text('{"w1": [[-1, 1]], "b1": [0, 0], "w2": [[1], [1]], "b2": [0]}')
    text = told(capsys, "net", "three", "--weights", weights, "--learning-rate", 0.01)
    assert "unit 1 of hidden layer 1 is dead from its first weights" in text
    assert "unit 2 of hidden layer 1 is dead" not in text


def test_own_weights_give_the_notes_figures(tmp_path, capsys):
    weights = tmp_path / "hand.json"
    weights.write_text('{"w1": [[2]], "b1": [-3], "w2": [[1.5]], "b2": [0.5]}')
    mine = strictly(told(capsys, "net", "one", "--weights", weights, "--json"))
    assert mine["epochs"] == [2.0]
    after = {"w1": 2.6, "b1": -2.7, "w2": 1.7, "b2": 0.7}
    assert mine["parameters"] == pytest.approx(after)
    weights.write_text('{"w1": [[2]], "b1": [-3, 1], "w2": [[1.5]], "b2": [0.5]}')
    assert whence("net", "one", "--weights", weights) == 2
    assert "b1 has 2 numbers for the 1 units" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_json_of_a_diverging_run_is_json(tmp_path, capsys):
    csv = tmp_path / "steep.csv"
    csv.write_text("x,y\n" + "".join(f"{x},{5000 * x}\n" for x in range(1, 9)))
    words = ("net", "--data", csv, "--learning-rate", 5, "--activation", "tanh", "--no-rerun")
    found = strictly(told(capsys, *words, "--epochs", 60, "--json"))
    assert set(found["parameters"].values()) == {None}
    words = ("rates", "--rates", 10, 1e200, "--json")
    assert strictly(told(capsys, *words))["runs"][1]["verdict"] == "diverged"
    words = ("net", "three", "--two-engines", "--learning-rate", 1e9, "--epochs", 40, "--json")
    assert strictly(told(capsys, *words))["losses"][-1] is None


def test_strict_json_keeps_what_is_finite():
    record = {"a": [1, 2.5, math.nan, (-math.inf, "x", None, True)]}
    assert strictly(strict(record)) == {"a": [1, 2.5, None, [None, "x", None, True]]}


def test_weights_of_a_sentence_keep_all_their_digits(tmp_path):
    sentence = open_sentence("we love deep learning")
    path = tmp_path / "weights.json"
    draw = np.random.default_rng(0)
    tree = {name: draw.normal(size=12).tolist() for name in ("read", "write", "bias")}
    path.write_text(json.dumps(tree))
    model = make_model("scalars", sentence, weights=path)
    for name, parameter in model.named_parameters():
        assert parameter.tolist() == tree[name]


# --- line ----------------------------------------------------------------------------------------


def nearly_equal(noise):
    draw = np.random.default_rng(3)
    a = draw.normal(5, 2, 40)
    b = a + noise * draw.normal(size=40)
    return np.stack((a, b), 1), 3 * a - 2 * b + 0.1 * draw.normal(size=40)


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-4])
def test_the_condition_number_is_numpys(noise):
    rows, _ = nearly_equal(noise)
    expected = np.linalg.cond(np.corrcoef(rows.T))
    assert Spread.of(rows.tolist()).condition == pytest.approx(expected, rel=1e-4)
    assert Spread.of(rows.tolist()).repeats == 0


def test_nearly_equal_columns_reach_the_closed_form(tmp_path, capsys):
    rows, y = nearly_equal(1e-4)
    csv = tmp_path / "twins.csv"
    lines = (f"{a!r},{b!r},{t!r}" for (a, b), t in zip(rows.tolist(), y.tolist(), strict=True))
    csv.write_text("a,b,y\n" + "\n".join(lines))
    found = strictly(told(capsys, "line", csv, "--json"))
    design = np.column_stack((np.ones(40), rows))
    expected, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert [found["start"], *found["change"]] == pytest.approx(expected.tolist(), rel=1e-6)
    assert found["steps"] < 1000
    text = told(capsys, "line", csv)
    assert "condition number" in text
    assert "turned to their directions" in text


def test_collinear_columns_are_told(tmp_path, capsys):
    csv = tmp_path / "twice.csv"
    csv.write_text("a,b,y\n" + "".join(f"{x / 10},{2 * x / 10 + 1},{x % 7}\n" for x in range(30)))
    text = told(capsys, "line", csv)
    assert "1 of the features is made of the others" in text
    found = strictly(told(capsys, "line", csv, "--json"))
    assert found["collinear_features"] == 1
    assert found["condition_number"] is None
    rows = [[x / 10, 2 * x / 10 + 1] for x in range(30)]
    fit = least_squares(rows, [x % 7 for x in range(30)])
    assert found["change"] == pytest.approx(fit.change)


def test_turned_features_are_uncorrelated():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    rows[:, 2] = rows[:, 0] + 0.01 * rows[:, 1]
    turned = np.array(Turned.along(rows.tolist()).inside(rows.tolist()))
    np.testing.assert_allclose(np.cov(turned.T, bias=True), np.eye(turned.shape[1]), atol=1e-8)


# --- rates ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(0.05, 1.5), min_size=1, max_size=4),
    st.floats(0.01, 1.2),
    st.integers(40, 200),
)
@example([1.0], 1.0011346157490044, 40)
def test_a_verdict_survives_ten_times_the_steps(sizes, rate, steps):
    """On a quadratic bowl: what is left after n steps is Σ λ·(1 − 2·rate·λ)^2n."""
    factors = [abs(1 - 2 * rate * size) for size in sizes]
    if any(f and abs(20 * steps * math.log(f)) < math.log(12) for f in factors):
        return  # not ten times nearer or further within ten times the steps

    def losses(n):
        with np.errstate(over="ignore"):
            rows = [
                s * np.power(f, 2.0 * np.arange(n)) for s, f in zip(sizes, factors, strict=True)
            ]
            return np.sum(rows, axis=0)

    what, later = verdict(losses(steps).tolist()), losses(10 * steps)[-1]
    if what == "diverged":
        assert later > losses(1)[0]
    elif what in ("arrived", "on its way", "crawls"):
        assert later <= losses(steps)[-1] * (1 + 1e-9)
    assert what != "swings"


def test_a_slow_climb_is_no_swing():
    climbing = [14_604 * 1.0025**i for i in range(100)]
    assert climbing[-1] == pytest.approx(18_700, rel=0.01)
    assert verdict(climbing) == "diverged"


# --- classify ------------------------------------------------------------------------------------


def test_each_line_of_classify_is_one_moment(capsys):
    found = strictly(told(capsys, "classify", "spam", "--steps", 20, "--json"))
    first, last = found["moments"][0], found["moments"][-1]
    assert first["cross_entropy"] == pytest.approx(math.log(2))
    assert first["accuracy"] < 0.7  # it knows nothing yet
    assert last["step"] == 20
    assert last["loss"] > last["cross_entropy"] > 0
    # the oracle: the losses of the loop are those of the same moments
    assert found["losses"][10] == pytest.approx(
        next(m["loss"] for m in found["moments"] if m["step"] == 10)
    )


def test_cross_entropy_is_scikit_learns():
    from whence.play.texts import classifying
    from whence.play.texts.messages import MESSAGES
    from whence.play.texts.words import WordClassifier

    model = WordClassifier(MESSAGES)
    for i, p in enumerate(model.parameters()):
        p.data = math.sin(i)
    found = classifying._measured(model, MESSAGES, 0.3, 0)
    probabilities = [model.probabilities(line.text) for line in MESSAGES]
    expected = log_loss([line.label for line in MESSAGES], probabilities, labels=model.labels)
    assert found.cross_entropy == pytest.approx(expected)
    weights = [w.data for w in model.weights[0].values()]
    assert found.loss - expected == pytest.approx(0.15 * np.square(weights).sum())


# --- train and evaluate ---------------------------------------------------------------------------


def test_evaluate_gives_trainings_last_figure(trained, capsys):
    run = Run.open(trained)
    found = strictly(told(capsys, "evaluate", trained, "--checkpoint", "last", "--json"))
    assert found["bits_per_byte"] == run.evals[-1]["bits_per_byte"]
    assert found["loss"].hex() == run.evals[-1]["loss_hex"]
    other = strictly(told(capsys, "evaluate", trained, "--overlap", "--json"))
    assert other["windows"] == "overlapping by half"
    assert "overlapping by half" in told(capsys, "evaluate", trained, "--overlap")


# --- counts --------------------------------------------------------------------------------------


def test_the_notes_corpus_from_the_command_line(capsys):
    def after(word, *flags):
        found = strictly(told(capsys, "count", "I like to eat. I like pizza.", "--json", *flags))
        [table] = [c["next"] for c in found["contexts"] if c["context"] == [word]]
        return {row["word"]: row["p"] for row in table}, found

    assert after("I")[0] == {"like": 1.0}
    assert after("like")[0] == pytest.approx({"to": 0.5, "pizza": 0.5})
    assert after("<START>")[0] == {"I": 1.0}
    smooth, found = after("I", "--add", 1)
    assert found["outcomes"] == ["I", "like", "to", "eat", "pizza", "<END>"]
    assert smooth["like"] == pytest.approx(3 / 8)
    assert after("I", "--add", 1, "--unknown")[0]["like"] == pytest.approx(3 / 9)
    asked = strictly(told(capsys, "count", "--ask", "I like to like", "--json"))["asked"]
    assert math.prod(step["p"] for step in asked) == 0
    assert whence("count", "--after", "sushi") == 2
    assert "--unknown" in capsys.readouterr().err


def test_counts_of_sentences_are_nltks():
    from nltk.lm import Laplace
    from nltk.lm.preprocessing import padded_everygram_pipeline

    text = sentences("The cat sat. The dog sat on the cat! Did the dog see the cat?", lower=True)
    counts = SentenceCounts(text, order=3, k=1)
    oracle = Laplace(3)
    oracle.fit(*padded_everygram_pipeline(3, text))
    oracle_size = len(oracle.vocab)  # with <UNK> and both marks
    for context, word in ((("the", "cat"), "sat"), (("the", "dog"), "see"), (("on", "the"), "cat")):
        count = oracle.counts[list(context)][word]
        total = oracle.counts[list(context)].N()
        assert oracle.score(word, context) == (count + 1) / (total + oracle_size)
        expected = (count + 1) / (total + len(counts.outcomes))
        assert counts.p(*context, word) == pytest.approx(expected)


def test_no_word_is_cut_by_the_split(tmp_path):
    file = tmp_path / "pizza.txt"
    file.write_text("I like to eat. I like pizza. " * 40 + "Nobody likes supercalifragilistics.")
    out = tmp_path / "run"
    flags = ("--model", "ngram", "--data.tokenizer", "words", "--out", out)
    for validation in (0.01, 0.02, 0.1, 0.33):
        assert whence("train", file, *flags, "--data.validation", validation) == 0
        run = Run.open(out)
        words = {w.strip() for w in file.read_text().replace(".", " ").split()}
        for part in (run.dataset.train, run.dataset.validation):
            said = run.tokenizer.decode(part).replace(".", " ").split()
            assert set(said) <= words | {"<UNK>"}
        run.remove()


def test_nothing_need_be_kept_for_validation(tmp_path, capsys):
    file = tmp_path / "pizza.txt"
    file.write_text("I like to eat. I like pizza.")
    out = tmp_path / "run"
    flags = ("--model.order", 2, "--model.smoothing", "mle", "--data.validation", 0)
    words = ("train", file, "--model", "ngram", "--data.tokenizer", "words", *flags, "--out", out)
    assert "no text is kept for validation" in told(capsys, *words)
    found = strictly(told(capsys, "generate", out, " like", "--show-probabilities", "--json"))
    candidates = found["samples"][0]["tokens"][0]["candidates"]
    likely = {c["token"]: c["before"] for c in candidates if c["before"] > 0}
    assert likely == pytest.approx({" to": 0.5, " pizza": 0.5})
    out = tmp_path / "gpt"
    assert whence("train", file, "--out", out, "--steps", 3, "--data.validation", 0, *TINY) == 0
    assert Run.open(out).evaluate(at="last").loss == Run.open(out).evals[-1]["loss"]
