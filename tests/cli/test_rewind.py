"""`rewind`, `fork`, `compare`, `what-if` and `verify`, as a person calls them."""

import json
import shutil

import pytest

from tests.cli.command import whence
from tests.runs.tiny import sign
from whence.runs.run import Run


@pytest.fixture
def read(capsys):
    """Run a command that must succeed; give what it printed."""

    def call(*words: object) -> str:
        assert whence(*words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


def test_rewind(trained, read, capsys):
    printed = read("rewind", trained, "--step", 13, "--prompt", "the ")
    assert "before step 13" in printed
    assert "13 steps replayed, every loss as recorded to the bit" in printed
    assert f"loss {Run.open(trained).steps[13]['loss']!r}" in printed
    assert "and 5 more windows" in printed
    assert "\nthe " in printed
    found = json.loads(read("rewind", trained, "--step", 40, "--json"))
    assert (found["step"], found["loss"], found["exact"]) == (40, None, True)
    assert whence("rewind", trained, "--step", 41) == 2
    assert "it has done the steps 0 to 39" in capsys.readouterr().err


def test_fork_and_compare(trained, tmp_path, read, capsys):
    out = tmp_path / "slow one"
    words = ["fork", trained, "--step", 30, "--out", out, "--set", "optimizer.learning-rate=1e-4"]
    printed = read(*words, "--set", "steps=35", "--weight", "head.weight[0,0]=1")
    assert "shares" in printed
    assert "optimizer.learning_rate: 0.03 → 0.0001" in printed
    assert "weight head.weight[0,0] = 1" in printed
    child = Run.open(out)
    assert len(child.steps) == 35
    printed = read("compare", trained, out)
    assert "their losses first differ at step 30" in printed
    assert "optimizer.learning_rate" in printed
    assert "bits/byte, best" in printed
    curves = {line.split()[0]: line for line in printed.splitlines() if "▁" in line}
    assert list(curves) == [trained.name, "slow", "apart"]
    assert curves[trained.name].split()[1][:25] == curves["slow"].split()[2][:25]
    assert "▁" * 29 in curves["apart"]  # 30 steps are shared
    assert "█" in curves["apart"]
    result = json.loads(read("compare", trained, out, "--json"))
    assert result["first_difference"] == 30
    assert whence(*words) == 2
    assert "already exists" in capsys.readouterr().err


def test_fork_without_training(trained, tmp_path, read, capsys):
    out = tmp_path / "later"
    words = ["fork", trained, "--step", 9, "--out", out, "--no-train"]
    printed = read(*words, "--skip-batch", 9, "--skip-batch", 11, "--freeze", "embed")
    assert f"train it with:  whence resume {out}" in printed
    change = Run.open(out).recipe.change
    assert (change.skip_batches, change.freeze) == ((9, 11), ("embed",))
    assert len(Run.open(out).steps) == 9
    for wrong, said in [
        ("steps", "isn't a setting: write FIELD=VALUE"),
        ("model.d_model=64", "the weights don't fit"),
        ("model.d_mode=64", "did you mean d_model"),
    ]:
        code = whence("fork", trained, "--step", 9, "--out", tmp_path / "x", "--set", wrong)
        assert code == 2
        assert said in capsys.readouterr().err


def test_what_if(trained, read, capsys):
    printed = read("what-if", trained, "--without", "mat.", "--step", 3)
    assert "loss on that text" in printed
    assert "validation bits/byte" in printed
    assert "after" in printed
    assert printed.count("← as in the text") == 1
    assert "'t' after 'ma'" in next(line for line in printed.splitlines() if "←" in line)
    words = ["--step", 2, "--prompt", "the ", "--json"]
    result = json.loads(read("what-if", trained, "--without", "mat.", *words))
    assert result["windows"]
    assert result["prompt"] == "the "
    assert whence("what-if", trained, "--without", "unicorn") == 2
    assert "isn't in the training text" in capsys.readouterr().err


def test_verify_and_repair(trained, tmp_path, read, capsys):
    printed = read("verify", trained)
    assert "exact" in printed
    assert "40 of 40 steps replayed" in printed
    assert "threads 1" in printed
    own = shutil.copytree(trained, tmp_path / "own")
    assert "nothing in" in read("verify", own, "--repair")
    run = Run.open(own)
    records = list(run.steps)
    records[5]["loss_hex"] = (2.5).hex()
    run.logs.steps.replace(records)
    sign(run)
    assert whence("verify", own) == 1
    assert "step 5:" in capsys.readouterr().out
    path = own / "checkpoints/000040/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert whence("resume", own, "--steps", 50) == 2
    assert "The run can continue from step" in capsys.readouterr().err
    assert "000040 is put aside" in read("verify", own, "--repair")
