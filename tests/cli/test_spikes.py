"""From "the loss is bad" to "this line moved this weight": two commands, on a planted bad line."""

import json
import random
import shlex

import pytest

from tests.cli.command import whence
from whence.runs.run import Run

BAD = "#%&@~^`|\\{}[]<>=+*$!?;:_/(){}#%&@~^`|\\{}[]<>=+*$!?"
LINE = 61


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A run on a text of plain sentences, with one line that is none; it comes late, and seldom."""
    folder = tmp_path_factory.mktemp("planted")
    draw = random.Random(1)
    nouns, verbs = ["the cat", "the dog", "a bird", "the sun"], ["sat", "ran", "sang", "rose"]
    lines = [f"{draw.choice(nouns)} {draw.choice(verbs)} and {draw.choice(nouns)} "
             f"{draw.choice(verbs)}." for _ in range(400)]  # fmt: skip
    lines[LINE - 1] = BAD
    text = folder / "plain.txt"
    text.write_text("\n".join(lines))
    run = folder / "run"
    words = ["train", text, "--out", run, "--steps", 260, "--seed", 3, "--batch-size", 4,
             "--data.tokenizer", "chars", "--model.n-layers", 1, "--model.n-heads", 2,
             "--model.d-model", 32, "--model.context-length", 32, "--hardware.precision", "fp32",
             "--hardware.threads", 1, "--optimizer", "adamw"]  # fmt: skip
    assert whence(*words) == 0
    return run


def holds_bad_line(run: Run, step: int) -> bool:
    moment = run.at(step)
    return any("~" in moment.tokenizer.decode(row.tolist())
               for _, part in moment.batch for row in part.inputs)  # fmt: skip


def test_from_a_bad_loss_to_the_line_and_the_weight_in_two_commands(planted, capsys):
    capsys.readouterr()
    assert whence("spikes", planted) == 0
    first = capsys.readouterr().out
    command = next(line for line in first.splitlines() if line.startswith("    whence why "))
    words = shlex.split(command)[1:]
    step = int(words[words.index("--step") + 1])
    assert holds_bad_line(Run.open(planted), step)
    assert whence(*words) == 0
    second = capsys.readouterr().out
    assert f"line {LINE} of plain.txt: " in second
    assert ".update" in second
    assert "open the first: whence why" in second


def test_spikes_as_data(planted, capsys):
    capsys.readouterr()
    assert whence("spikes", planted, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    run = Run.open(planted)
    assert found["looked_at"] == len(run.steps) == 260
    assert found["spikes"][0]["z"] >= found["spikes"][-1]["z"] >= found["threshold"]
    lost = [s["step"] for s in found["spikes"] if s["kind"] == "loss" and s["z"] >= 8]
    assert len(lost) >= 2
    assert all(holds_bad_line(run, step) for step in lost)
    for spike in found["spikes"]:
        assert spike["value"] == run.steps[spike["step"]][spike["kind"]]
        assert f"--step {spike['step']} " in spike["command"]


def test_where_nothing_stands_out_it_says_what_was_looked_at(planted, capsys):
    capsys.readouterr()
    assert whence("spikes", planted, "--threshold", 1e6) == 0
    said = capsys.readouterr().out
    assert "looked at the loss and the gradient norm of 260 steps: none lies" in said
    assert "the largest: loss z = " in said
    assert whence("spikes", planted, "--threshold", 0) == 2


def test_the_lines_and_examples_of_a_step_as_data(planted, capsys):
    capsys.readouterr()
    assert whence("spikes", planted, "--json") == 0
    step = json.loads(capsys.readouterr().out)["spikes"][0]["step"]
    assert whence("why", planted, "--line", LINE, "--step", step, "--top", 3, "--json") == 0
    moved = json.loads(capsys.readouterr().out)["moved"]
    assert moved["what"] == f"line {LINE} of plain.txt"
    assert len(moved["weights"]) == 3
    sizes = [abs(weight["value"]) for weight in moved["weights"]]
    assert sizes == sorted(sizes, reverse=True)
    number = Run.open(planted).at(step).trace().number(moved["weights"][0]["address"])
    assert number.value == pytest.approx(moved["weights"][0]["change"], rel=1e-9)
    parts = {s.label.partition(":")[0]: s.value for s in number.attribution("where").shares}
    own = moved["weights"][0]["value"]
    assert parts[f"line {LINE} of plain.txt"] == pytest.approx(own, rel=1e-6)
    assert whence("why", planted, "--line", 9999, "--step", step) == 2
    assert "'9999' is not a line of this step's batch" in capsys.readouterr().err
    assert whence("why", planted, "--example", 2, "--step", step) == 0
    assert "example 2: 32 places" in capsys.readouterr().out
    assert whence("why", planted, "--example", 9, "--step", step) == 2
    assert "the batch has 0 to 3" in capsys.readouterr().err


def test_the_largest_number_of_a_tensor(planted, capsys):
    capsys.readouterr()
    assert whence("why", planted, "head.weight.grad", "--largest", "--step", 30, "--json") == 0
    receipt = json.loads(capsys.readouterr().out)["receipt"]
    t = Run.open(planted).at(30).trace()
    gradient = t["head.weight"].grad.value
    at = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    assert receipt["address"] == f"head.weight[{at[0]},{at[1]}].grad"
    assert receipt["value"] == float(gradient[at])
    assert whence("why", planted, "--largest", "--step", 30, "--json") == 0
    receipt = json.loads(capsys.readouterr().out)["receipt"]
    furthest = max(float(t[n].update.value.abs().max()) for n in t.parameters)
    assert abs(receipt["value"]) == furthest
