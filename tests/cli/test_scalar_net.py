"""`whence net`, `line`, `rates` and `gradcheck`: the figures worked by hand, digit by digit."""

import json
import math
import os
import subprocess
import sys

import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from tests.cli.command import SOURCE, whence
from whence.cli.small.gradcheck import gradcheck
from whence.cli.small.line import line
from whence.cli.small.net import net
from whence.cli.small.rates import rates
from whence.data.table import read_table
from whence.errors import WhenceError
from whence.models.small.line import Scale, least_squares
from whence.models.small.mlp import MLP, initial
from whence.scalar import nll
from whence.scalar.gradcheck import check_gradient


def printed(capsys, function, *arguments, **options):
    function(*arguments, **options)
    return capsys.readouterr().out


def record(capsys, function, *arguments, **options):
    return json.loads(printed(capsys, function, *arguments, json=True, **options))


def test_one_sample_by_hand(capsys):
    text = printed(capsys, net, "one", show="every-step")
    for line_ in (
        "z1 = x · w1 + b1 = 2 · 2 − 3 = 1",
        "h1 = relu(z1) = relu(1) = 1",
        "ŷ = h1 · w2 + b2 = 1 · 1.5 + 0.5 = 2",
        "loss = (2 − 4)² / 2 = 2",
        "∂loss/∂ŷ = (-2)",
        "∂loss/∂w2 = (-2) · 1 = (-2)",
        "∂loss/∂b2 = (-2) · 1 = (-2)",
        "∂loss/∂h1 = (-2) · 1.5 = (-3)",
        "∂loss/∂z1 = (-3) · 1 = (-3)",
        "∂loss/∂w1 = (-3) · 2 = (-6)",
        "∂loss/∂b1 = (-3) · 1 = (-3)",
        "w1 ← 2 − 0.1 · (-6) = 2.6",
        "b1 ← (-3) − 0.1 · (-3) = (-2.7)",
        "w2 ← 1.5 − 0.1 · (-2) = 1.7",
        "b2 ← 0.5 − 0.1 · (-2) = 0.7",
    ):
        assert f"  {line_}\n" in text
    found = record(capsys, net, "one", epochs=2)
    assert [round(x, 5) for x in found["epochs"]] == [2.0, 0.45125]
    once = record(capsys, net, "one")
    assert [round(x, 4) for x in once["predictions"][0]] == [4.95]
    assert {k: round(x, 9) for k, x in once["parameters"].items()} == {
        "w1": 2.6,
        "b1": -2.7,
        "w2": 1.7,
        "b2": 0.7,
    }


def test_the_unit_that_dies(capsys):
    found = record(capsys, net, "three")
    assert [round(x, 4) for x in found["epochs"]] == [2.6130, 6.3838, 3.9888, 2.7419, 2.0981]
    assert [round(x, 4) for (x,) in found["predictions"]] == [3.1174] * 3
    parameters = {k: round(x, 5) for k, x in found["parameters"].items()}
    assert (parameters["w1"], parameters["b1"], parameters["w2"]) == (0.95605, -3.25548, 0.12163)
    (death,) = found["deaths"]
    assert (death["layer"], death["unit"], death["epoch"], death["sample"]) == (1, 1, 1, 3)
    labels = [term["label"] for term in death["receipt"]["terms"]]
    values = [term["value"] for term in death["receipt"]["terms"]]
    assert "w1" in labels[values.index(min(values))]
    assert sum(values) == pytest.approx(death["receipt"]["value"], abs=1e-12)
    assert death["receipt"]["value"] < 0
    assert found["rerun"]["learning_rate"] == pytest.approx(0.09)
    assert found["rerun"]["deaths"] == []
    assert [round(x, 4) for (x,) in found["rerun"]["predictions"]] == [2.0, 4.0, 6.0]


def test_it_says_why_the_unit_died(capsys):
    text = printed(capsys, net)
    assert "unit 1 of hidden layer 1 died at sample 3 of epoch 1" in text
    assert "its weights never move again" in text
    assert (
        "the largest part of it is one update, w1 from 2.555 to 0.956047: "
        "rate 0.1 · gradient 15.9895" in text
    )
    assert "the prediction was 9.1631 for a target of 6.0000" in text
    assert "rerun with rate 0.09" in text
    assert "no unit dies" in text


def test_the_dead_network_ends_in_a_limit_cycle(capsys):
    found = record(capsys, net, "three", epochs=100, rerun=False)
    assert [round(x, 4) for (x,) in found["predictions"]] == [4.1402] * 3
    text = printed(capsys, net, "three", epochs=100, rerun=False, show="every-step")
    last = text[text.index("epoch 99, sample 1") :]
    predictions = [
        float(row.rsplit("=", 1)[1]) for row in last.splitlines() if row.startswith("  ŷ =")
    ]
    assert {round(x, 3) for x in predictions} == {3.926, 3.934, 4.140}


def test_two_features(capsys):
    found = record(capsys, net, "two-features")
    assert [round(x, 5) for x in found["epochs"][:3]] == [0.42550, 0.00767, 0.01366]
    assert round(found["epochs"][9], 5) == 0.00452
    assert [round(x, 4) for (x,) in found["predictions"]] == [1.8685, 3.8942, 5.9198]
    assert found["parameters"]["w1[2]"] == 0.5
    assert "feature 2 is 0 in every sample" in printed(capsys, net, "two-features")


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("batch", [False, True])
def test_two_engines_agree(capsys, activation, batch):
    found = record(
        capsys,
        net,
        "two-features",
        two_engines=True,
        hidden=(5, 4),
        activation=activation,
        batch=batch,
    )
    assert all(x < 1e-12 for x in found["largest_difference"].values())
    text = printed(capsys, net, two_engines=True)
    assert "largest difference of a gradient" in text


def test_two_engines_agree_on_a_gpt(capsys):
    found = record(capsys, net, two_engines=True, model="gpt", epochs=6)
    assert found["steps"] == len(found["losses"]) == 6
    assert 0 < max(found["largest_difference"].values()) < 1e-12
    assert found["losses"][0] == pytest.approx(math.log(27), abs=0.4)
    assert "4,192 parameters" in printed(capsys, net, two_engines=True, model="gpt", epochs=1)
    with pytest.raises(WhenceError, match="add --two-engines"):
        net(model="gpt")


def test_any_sizes_and_a_csv(capsys, tmp_path):
    path = tmp_path / "a b.csv"
    path.write_text("x,y\n1,2\n2,4\n3,6\n", encoding="utf-8")
    found = record(capsys, net, data=path, hidden=(3, 2), activation="tanh", batch=True, epochs=300)
    assert found["epochs"][-1] < found["epochs"][0] / 10
    text = printed(capsys, net, data=path, hidden=(2,), show="every-step", epochs=1, batch=True)
    assert "∂loss/∂w1[1] = " in text
    assert "epoch 1, all samples" in text


def test_nets_that_cannot_be():
    with pytest.raises(WhenceError, match="one epoch or more"):
        net("one", epochs=0)
    with pytest.raises(WhenceError, match="each must be 1 or more"):
        net("one", hidden=(0,))
    with pytest.raises(WhenceError, match="isn't an activation"):
        MLP([], "gelu")
    assert initial([2, 3, 1], seed=1) == initial([2, 3, 1], seed=1)


# --- line ----------------------------------------------------------------------------------------


def test_the_coffee_shop(capsys):
    text = printed(capsys, line)
    assert "for distance (km) = 2.3 it predicts money = 356.32" in text
    assert "converged: nothing changes" in text
    assert "gradient, update" in text
    found = record(capsys, line)
    assert found["start"] == pytest.approx(found["closed_form"]["start"], rel=1e-9)
    assert found["change"] == pytest.approx(found["closed_form"]["change"], rel=1e-9)
    raw = record(capsys, line, scale=False, learning_rate=0.01)
    assert raw["change"] == pytest.approx(found["closed_form"]["change"], rel=1e-7)


def test_real_data_with_many_features_reaches_least_squares(capsys, tmp_path):
    x, y = (part[:100] for part in load_diabetes(return_X_y=True, scaled=False))
    path = tmp_path / "diabetes.csv"
    rows = [",".join(map(repr, [*map(float, row), float(t)])) for row, t in zip(x, y, strict=True)]
    names = ",".join([*(f"f{i}" for i in range(10)), "progression"])
    path.write_text("\n".join([names, *rows]), encoding="utf-8")
    found = record(capsys, line, path, steps=1000, learning_rate=0.2)
    theirs = LinearRegression().fit(x, y)
    assert found["closed_form"]["change"] == pytest.approx(theirs.coef_.tolist(), rel=1e-7)
    assert found["closed_form"]["start"] == pytest.approx(theirs.intercept_, rel=1e-7)
    best = found["closed_form_mean_squared_error"]
    assert found["mean_squared_error"] == pytest.approx(best, rel=1e-3)


def test_houses_and_predictions(capsys):
    found = record(capsys, line, example="houses", predict=(100.0, 4.0, 20.0, 60.0, 2.0, 12.0))
    assert len(found["predictions"]) == 2
    assert found["change"] == pytest.approx(found["closed_form"]["change"], rel=1e-6)
    assert found["importance"][0] > abs(found["importance"][2]) > abs(found["importance"][1])
    with pytest.raises(WhenceError, match="needs 3 numbers for each case"):
        line(example="houses", predict=(1.0,))


def test_a_rate_too_large_is_said(capsys):
    with pytest.raises(WhenceError, match="diverged"):
        line(learning_rate=1.5)


def test_constant_and_repeated_features():
    rows = [[1.0, 5.0, 2.0], [2.0, 5.0, 4.0], [4.0, 5.0, 8.0]]
    fit = least_squares(rows, [3.0, 5.0, 9.0])
    assert [fit.predict(row) for row in rows] == pytest.approx([3.0, 5.0, 9.0])
    assert fit.change[1] == 0.0
    assert Scale.of(rows).deviation[1] == 1.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("x,y\n1,2\n3,b\n", "row 3, column 'y': 'b' isn't a number"),
        ("x,y\n1,2\n3,\n", "row 3, column 'y': the cell is empty"),
        ("x,y\n1,2\n3\n", "row 3 has 1 cells, and the first line has 2"),
        ("x,y\n1,2\n3,inf\n", "row 3, column 'y': 'inf' isn't a number"),
        ("x\n1\n2\n", "one column"),
        ("x,y\n1,2\n", "one row of numbers"),
        ("km,km\n1,2\n2,3\n", "two columns called 'km'"),
    ],
)
def test_bad_csv(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhenceError) as error:
        read_table(path)
    assert says in str(error.value)


def test_csv_of_all_sorts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffa;b;c\n1;2;3\n\n4;5;6\n", encoding="utf-8")
    table = read_table(path, "b")
    assert (table.features, table.target) == (["a", "c"], "b")
    assert table.rows == [[1.0, 3.0], [4.0, 6.0]]
    path.write_text("1\t2\n3\t4\n", encoding="utf-8")
    assert read_table(path).features == ["column 1"]
    with pytest.raises(WhenceError, match="no column 'z'"):
        read_table(path, "z")
    with pytest.raises(WhenceError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe1,2")
    with pytest.raises(WhenceError, match="not UTF-8"):
        read_table(path)


# --- rates and gradcheck -------------------------------------------------------------------------


def test_five_rates(capsys):
    found = record(capsys, rates)
    runs = found["runs"]
    assert [round(run["one_step"], 4) for run in runs] == [0.5002, 0.502, 0.520, 0.700, 2.500]
    assert [run["verdict"] for run in runs] == [
        "crawls",
        "on its way",
        "arrived",
        "swings",
        "diverged",
    ]
    proposed = found["range_test"]["proposed"]
    assert 0.01 < proposed < 1.0
    assert found["range_test"]["verdict"] == "arrived"
    text = printed(capsys, rates)
    assert "diverges: the loss is above its start from step 1 on" in text


def test_the_gradient_check_of_the_notes():
    # P(target) = 0.149, changed by a factor 1 ± 0.02
    low, mid, high = (nll(0.149 * f).data for f in (0.98, 1.0, 1.02))
    assert [round(x, 4) for x in (mid, low, high)] == [1.9038, 1.9240, 1.8840]
    assert round((high - low) / (2 * 0.01), 2) == -2.00


@pytest.mark.parametrize("model", ["line", "net", "mlp", "spam"])
def test_gradients_agree_with_differences(capsys, model):
    found = record(capsys, gradcheck, model, count=6)
    assert all(check["agrees"] for check in found["checks"])
    assert all(check["error"] < 1e-6 for check in found["checks"])


def test_one_parameter_by_name(capsys):
    (check,) = record(capsys, gradcheck, "net", parameter="w1")["checks"]
    assert check["address"] == "w1"
    (check,) = record(capsys, gradcheck, "mlp", parameter="W2[0,3]")["checks"]
    assert check["address"] == "W2[0,3]"
    assert "all 1 agree" in printed(capsys, gradcheck, "mlp", parameter="b3")
    for model, wrong in (("net", "w9"), ("mlp", "W2[9,9]"), ("mlp", "W2[0]")):
        with pytest.raises(WhenceError, match="isn't a parameter"):
            gradcheck(model, parameter=wrong)
    with pytest.raises(WhenceError, match="isn't a run"):
        gradcheck("nothing")


def test_any_parameter_of_a_run(capsys, trained):
    found = record(capsys, gradcheck, str(trained), count=5)
    assert len(found["checks"]) == 5
    assert all(check["agrees"] for check in found["checks"])
    name = found["checks"][0]["address"].split("[")[0]
    (check,) = record(capsys, gradcheck, str(trained), parameter=name)["checks"]
    assert check["address"].startswith(name)
    assert check["agrees"]
    assert check["error"] < 1e-5


def test_the_verbs(capsys):
    for words in (["net", "one"], ["line"], ["rates"], ["gradcheck", "net", "--parameter", "w1"]):
        assert whence(*words, "--json") == 0
        assert json.loads(capsys.readouterr().out)["schema"] == 1
    assert whence("line", "--learning-rate", "1.5") == 2
    assert "diverged" in capsys.readouterr().err
    assert whence("net", "--no-rerun", "--hidden", "3", "2", "--epochs", "2") == 0


def test_a_wrong_gradient_is_found():
    from whence.scalar import Value

    w = Value(3.0)
    # detached, the gradient is half of what it should be
    check = check_gradient(lambda: w * w.detach(), w, address="w")
    assert not check.agrees
    assert check.error == pytest.approx(0.5)
    assert w.data == 3.0
    assert w.grad == 0.0
    assert math.isclose(check.difference, 6.0, rel_tol=1e-6)


def test_small_models_start_without_torch():
    """In a process of its own: here torch is loaded already."""
    code = """
import sys
from whence.cli import main
for words in (["line"], ["net"], ["rates", "--steps", "9"], ["classify", "--steps", "2"]):
    assert main(words) == 0
assert main(["gradcheck", "net"]) == 0
print("torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
