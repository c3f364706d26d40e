"""The folder of a watched loop, and what watch() says of bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import whence
from tests.cli.command import whence as command
from whence import Run
from whence.errors import WhenceError

ROOT = Path(__file__).parents[2]


def quiet(_):
    pass


def lines(folder):
    """The record's lines, behind the first."""
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()[1:]]


def step(model, optimizer):
    optimizer.zero_grad()
    loss = model(torch.randn(5, 3)).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss


def line():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_runs_lists_and_removes_it(tmp_path, capsys):
    model, optimizer = line()
    with whence.watch(model, optimizer, out=tmp_path / "runs/mine", tell=quiet) as recorder:
        losses = []
        for _ in range(4):
            loss = step(model, optimizer)
            losses.append(loss.item())
            recorder.log(loss=loss)
    assert command("runs", "--folder", tmp_path / "runs", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["model"], row["done"], row["state"]) == ("Linear", 4, "stopped")
    assert row["trouble"] is None
    assert [one["loss"] for one in lines(tmp_path / "runs/mine")] == losses
    with pytest.raises(WhenceError, match="watched loop"):
        Run.open(tmp_path / "runs/mine")
    assert command("runs", "remove", tmp_path / "runs/mine", "--yes") == 0
    assert not (tmp_path / "runs/mine").exists()


def test_the_norm_is_that_of_torch(tmp_path):
    model, optimizer = line()
    with whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet):
        model(torch.ones(5, 3)).pow(2).mean().backward()
        expected = float(nn.utils.get_total_norm([p.grad for p in model.parameters()]))
        optimizer.step()
    (record,) = lines(tmp_path / "mine")
    assert record["grad_norm"] == pytest.approx(expected, rel=1e-6)
    assert record["rate"] == 0.1


def test_memory_is_bounded(tmp_path):
    model = nn.Linear(200, 200)
    optimizer = torch.optim.Adam(model.parameters())
    most = 3_000_000
    with whence.watch(
        model, optimizer, out=tmp_path / "mine", snapshot_every=2, memory=most, tell=quiet
    ) as recorder:
        for _ in range(30):
            optimizer.zero_grad()
            model(torch.randn(2, 200)).pow(2).mean().backward()
            optimizer.step()
        assert 0 < recorder._ring.nbytes <= most
        assert 2 <= len(recorder.steps) < 30
        assert recorder.at(-1).redo().differences == []
        with pytest.raises(WhenceError, match=r"step 0 isn't in memory: steps \d+ to 29 are kept"):
            recorder.at(0)


def test_a_step_without_end_is_let_go(tmp_path):
    """Such as a long evaluation that forgot no_grad."""
    model, optimizer = line()
    most = 100_000
    with whence.watch(model, optimizer, out=tmp_path / "mine", memory=most, tell=quiet) as recorder:
        step(model, optimizer)
        for _ in range(50):
            model(torch.randn(100, 3, 100).transpose(1, 2))
        assert not recorder._listener.step.events
        step(model, optimizer)
        step(model, optimizer)
        with pytest.raises(WhenceError, match=r"step 1 took more than the 100\.0 kB"):
            recorder.at(1)
        redone = recorder.at(2).redo()
        assert redone.differences == []
        assert torch.equal(redone.copies.models[""].weight, model.weight)


def test_a_write_past_autograd_is_told(tmp_path):
    model, optimizer = line()
    with whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet) as recorder:
        step(model, optimizer)
        model.weight.data[0, 1] += 1.0
        step(model, optimizer)
        notes = recorder.at(1).trace().notes
    assert any(
        note.startswith("approximate") and "call 0, output 0" in note and ".data" in note
        for note in notes
    )


def test_optimizers_in_the_wrong_order_are_told(tmp_path):
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    first = torch.optim.SGD(a.parameters(), lr=0.1)
    second = torch.optim.SGD(b.parameters(), lr=0.1)
    with whence.watch([a, b], [second, first], out=tmp_path / "mine", tell=quiet) as recorder:
        for _ in range(3):
            y = b(torch.randn(3, 2))
            a(y.detach()).sum().backward()
            first.step()
            y.sum().backward()
            second.step()
        assert any("in the order" in note for note in recorder.at(1).redo().notes)


def test_bad_input_gets_a_sentence(tmp_path):
    model, optimizer = line()
    with pytest.raises(WhenceError, match="such as 'every 100'"):
        whence.watch(model, optimizer, out=tmp_path / "a", keep="sometimes")
    with pytest.raises(WhenceError, match="z-score above 0"):
        whence.watch(model, optimizer, out=tmp_path / "a", spike=-1.0)
    with pytest.raises(WhenceError, match="given a int as a model"):
        whence.watch(3, optimizer, out=tmp_path / "a")
    with pytest.raises(WhenceError, match="report, stop or skip"):
        whence.watch(model, optimizer, out=tmp_path / "a", on_bad="panic")  # type: ignore
    with pytest.raises(WhenceError, match="give 1 or more"):
        whence.watch(model, optimizer, out=tmp_path / "a", steps=0)
    assert not (tmp_path / "a").exists()
    with whence.watch(model, optimizer, out=tmp_path / "a", tell=quiet) as recorder:
        with pytest.raises(WhenceError, match="before the first step"):
            recorder.log(loss=1.0)
        with pytest.raises(WhenceError, match="before the first step"):
            recorder.dump()
        with pytest.raises(WhenceError, match="no step has been done"):
            recorder.at(0)
        step(model, optimizer)
        with pytest.raises(WhenceError, match="5 numbers"):
            recorder.log(loss=torch.ones(5))
    with pytest.raises(WhenceError, match="already exists"):
        whence.watch(model, optimizer, out=tmp_path / "a")


def test_an_error_that_ends_the_program_is_reported(tmp_path):
    """Without `with`: a script that is not prepared for anything."""
    script = tmp_path / "train.py"
    script.write_text(
        "import torch, whence\n"
        "model = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "whence.watch(model, optimizer, out='mine')\n"
        "for step in range(3):\n"
        "    loss = model(torch.ones(1, 2 + (step == 2))).sum()\n"
        "    loss.backward(); optimizer.step()\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "mat1 and mat2 shapes cannot be multiplied" in done.stderr
    assert "crashes" in done.stderr
    report = (tmp_path / "mine/crashes/000002/report.md").read_text()
    assert "RuntimeError: mat1 and mat2 shapes" in report


def test_the_package_may_be_called_too():
    import whence.watch

    assert callable(whence.watch)
    assert whence.watch.watch.__doc__


def test_lbfgs_trains_alike_and_is_said_not_to_be_redone(tmp_path):
    x, y = torch.ones(5, 3), torch.ones(5, 1)

    def train(watched):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
        notes = None
        if watched:
            recorder = whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet)

        def closure():
            optimizer.zero_grad()
            loss = (model(x) - y).pow(2).mean()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        if watched:
            notes = recorder.at(0).redo().notes
            recorder.close()
        return list(model.parameters()), notes

    plain, _ = train(False)
    watched, notes = train(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert any("closure more than once" in note for note in notes)


def test_each_process_chooses_a_name_with_its_rank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    for number in (1, 2):
        with whence.watch(model, optimizer, tell=lambda sentence: None) as recorder:
            assert recorder.path == Path("runs") / f"linear-rank3-{number}"
