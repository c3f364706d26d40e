"""What the command line and the studio make of a watched run."""

import json
import re
import shlex

import pytest
import torch

from tests.cli.command import whence as command
from tests.watch.loops import NanoGPT
from tests.watch.mine import train
from whence.errors import WhenceError
from whence.studio.answers import answer
from whence.watch import open_step

MODEL = "tests.watch.mine:build"
WEIGHT = "h.0.mlp.0.weight[3,7]"


def quiet(_):
    pass


def asked(capsys, *words):
    """Run a command; return what it says in JSON."""
    assert command(*words, "--json") == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with all steps stored, and one with every fourth."""
    folder = tmp_path_factory.mktemp("runs")
    told = []
    _, model, losses = train(folder / "all", keep="all", snapshot_every=5, tell=told.append)
    train(folder / "fourth", keep="every 4", build=MODEL, tell=told.append)
    return folder, model, losses, told


def test_its_cost_is_told_before(kept):
    _, model, _, told = kept
    weights = sum(p.numel() for p in model.parameters()) * 4
    first, second = (said for said in told if "is stored, about" in said)
    assert "gradients, and a copy of the state every 5 steps" in first
    assert re.search(r"about (\d+\.\d) kB each", second)[1] == f"{4 * weights / 1000:.1f}"


def test_every_stored_step_has_the_bits_it_had(kept):
    folder, model, losses, _ = kept
    for step in range(12):
        past, reason = open_step(folder / "all", step, NanoGPT())
        assert reason == ""
        redone = past.redo()
        assert redone.differences == []
        assert past.step.loss == losses[step]
    last = redone.copies.models[""].parameters()
    assert all(torch.equal(a, b) for a, b in zip(last, model.parameters(), strict=True))


def test_rewind_why_and_biography(kept, capsys):
    folder, model, losses, _ = kept
    run = folder / "all"
    told = asked(capsys, "rewind", run, "--step", "7", "--model", MODEL)
    assert told["exact"]
    assert told["loss"] == losses[7]
    assert command("rewind", run, "--step", "7", "--model", MODEL) == 0
    assert "the same bits" in capsys.readouterr().out
    found = asked(capsys, "why", run, f"{WEIGHT}.update", "--step", "7", "--model", MODEL)
    receipt = found["receipt"]
    assert abs(receipt["residual"]) <= receipt["bound"]
    life = asked(capsys, "biography", run, WEIGHT, "--largest", "1", "--model", MODEL)["story"]
    assert [s["step"] for s in life["steps"]] == list(range(12))
    assert all(a["after"] == b["before"] for a, b in zip(life["steps"], life["steps"][1:],
                                                         strict=False))  # fmt: skip
    assert life["steps"][-1]["after"] == model.h[0].mlp[0].weight[3, 7].item()
    assert life["steps"][7]["after"] - life["steps"][7]["before"] == pytest.approx(
        receipt["value"], rel=1e-6
    )
    assert life["turns"][0]["attributions"][0]["by"] == "token"
    assert command("biography", run, WEIGHT, "--model", MODEL) == 0
    assert "open it:  whence why" in capsys.readouterr().out


def test_what_builds_the_model_may_be_told_once(kept, capsys):
    folder, *_ = kept
    assert asked(capsys, "rewind", folder / "fourth", "--step", "8")["exact"]
    assert command("rewind", folder / "fourth", "--step", "7") == 2
    assert "hasn't stored step 7: there are 0, 4, 8" in capsys.readouterr().err
    assert command("rewind", folder / "all", "--step", "7") == 2
    assert "add --model my_module:build" in capsys.readouterr().err
    for wrong, said in (
        ("nothing", "give module:function"),
        ("tests.watch.mine:none", "failed to build a model"),
        ("tests.watch.tiny:build", "the model doesn't match"),
    ):
        assert command("rewind", folder / "all", "--step", "7", "--model", wrong) == 2
        assert said in capsys.readouterr().err
    life = asked(capsys, "biography", folder / "fourth", WEIGHT, "--largest", "0")["story"]
    assert life["gaps"]


def test_a_model_of_another_shape_is_named(kept):
    folder, *_ = kept
    with pytest.raises(WhenceError, match=r"parameter wte\.weight differs, it was \[13, 16\]"):
        open_step(folder / "all", 3, NanoGPT(d=18))


def test_compare_report_and_the_list(kept, tmp_path, capsys):
    folder, *_ = kept
    found = asked(capsys, "compare", folder / "all", folder / "fourth")
    assert found["first_difference"] is None
    assert found["shared"] == 12
    page = tmp_path / "page.html"
    assert command("report", folder / "all", "--html", page) == 0
    assert "NanoGPT" in page.read_text()
    capsys.readouterr()
    rows = asked(capsys, "runs", "--folder", folder)["runs"]
    assert {row["done"] for row in rows} == {12}


def test_the_studio_shows_it(kept):
    folder, _, losses, _ = kept
    shown = answer("live", {"run": "all"}, folder)
    assert shown["done"] == 12
    assert shown["curves"]["loss"]["value"].tolist() == losses
    rows = answer("runs", {}, folder)["runs"]
    assert {(row["name"], row["state"]) for row in rows} == {("all", "stopped"),
                                                             ("fourth", "stopped")}  # fmt: skip
    both = answer("compare", {"a": "all", "b": "fourth"}, folder)
    assert both["first_difference"] is None


def test_the_five_commands_of_a_report_work(tmp_path, monkeypatch, capsys):
    def poison(step, model, x):
        if step == 4:
            with torch.no_grad():
                model.h[1].ln_1.weight[2] = float("nan")

    run = tmp_path / "bad"
    told = []
    train(run, poison=poison, build=MODEL, tell=told.append)
    report = (run / "crashes/000004/report.md").read_text()
    assert "`h.1.ln_1.weight[2]` was nan before any operation" in report
    assert any("h.1.ln_1.weight[2] was nan before any operation" in said for said in told)
    page = (run / "crashes/000004/report.html").read_text()
    assert "<code>h.1.ln_1.weight[2]</code>" in page
    assert "src=" not in page
    assert "href=" not in page
    commands = re.search(r"```sh\n(.*?)```", report, re.DOTALL)[1].splitlines()
    assert len(commands) == 5
    for line in commands:
        words = shlex.split(line)[1:]
        words = [str(tmp_path / w) if w == "bad.html" else w for w in words]
        assert command(*words) == 0, (line, capsys.readouterr().err)
    said = capsys.readouterr().out
    assert "h.1.ln_1.weight[2] = nan" in said
    assert "the same bits" in said
