"""Several processes train what one trains: equal bits where they are promised, else near.

Two launches of torchrun do everything: four processes begin the runs, two go on with some.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.cli.command import SOURCE as CODE
from tests.cli.command import TEXT, TINY, start, whence
from tests.runs.tiny import CPU, RECIPE, files, finish, losses, make
from whence.errors import WhenceError
from whence.models import GPTConfig, gpt2_config
from whence.runs.run import Run
from whence.scale.hardware import Hardware
from whence.scale.sharing import Ordered, own_parts
from whence.train.optimizers import AdamWConfig
from whence.why.history.moments import trace_moment

BASE = replace(
    RECIPE,
    model=GPTConfig(n_layers=2, n_heads=2, d_model=16, context_length=16, dropout=0.2),
    steps=8,
    batch_size=8,
    accumulate=4,
    record=replace(RECIPE.record, checkpoint_every=2, evaluate_every=4),
)
ORDERED = replace(CPU, reduction="ordered")
FSDP = replace(CPU, parallel="fsdp")
RECIPES = {
    "plain": BASE,
    "fsdp": replace(BASE, hardware=FSDP),
    "tied": replace(
        BASE,
        model=gpt2_config(n_layers=1, n_heads=2, d_model=16, context_length=16),
        optimizer=AdamWConfig(),
        hardware=FSDP,
    ),
    "full": replace(BASE, hardware=FSDP),
    "ordered": replace(BASE, hardware=ORDERED),
    "ordered16": replace(
        BASE, hardware=replace(ORDERED, precision="bf16"), accumulate=8, optimizer=AdamWConfig()
    ),
}
# Where each stops with four processes; two go on.
FOUR = ["plain", "fsdp:4", "tied:4", "full!", "ordered", "ordered16:4"]
TWO = ["fsdp", "ordered16"]


def torchrun(size: int, folder: Path, names: list[str]) -> None:
    worker = Path(__file__).with_name("worker.py")
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    path = os.pathsep.join([str(CODE), str(CODE.parent)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, str(worker), str(folder), *names], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Runs that four processes trained, some of them up to a step, and two trained on."""
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe in RECIPES.items():
        make(folder / name, recipe)
    torchrun(4, folder, FOUR)
    torchrun(2, folder, TWO)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The same recipes, trained by one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("plain", "tied", "ordered", "ordered16"):
        finish(make(folder / name, RECIPES[name]))
    return folder


def numbers(run: Run) -> list[float]:
    return [record["loss"] for record in run.steps]


@pytest.mark.parametrize("name", ["ordered", "ordered16"])
def test_in_order_any_number_of_processes_gives_the_same_bits(trained, alone, name):
    """With dropout and parts; in bfloat16 by four processes at first and then by two."""
    here, there = Run.open(trained / name), Run.open(alone / name)
    assert losses(here) == losses(there)
    assert len(losses(here)) == 8
    assert files(here, 8) == files(there, 8)
    assert here.evals[-1]["loss_hex"] == there.evals[-1]["loss_hex"]


@pytest.mark.parametrize("name", ["ordered", "ordered16"])
def test_a_run_of_many_is_rewound_and_opened_by_one(trained, name):
    moment = Run.open(trained / name).at(5)
    assert not moment.differences
    trace = trace_moment(moment)
    assert trace["loss"].value == pytest.approx(numbers(Run.open(trained / name))[5], abs=1e-6)


@pytest.mark.parametrize("name", ["plain", "fsdp"])
def test_left_to_the_engine_it_is_near(trained, alone, name):
    """The same parts and dropout masks: only the order of addition differs, and split sums."""
    there = numbers(Run.open(alone / "plain"))
    assert numbers(Run.open(trained / name)) == pytest.approx(there, rel=1e-4)


def test_split_weights_that_are_tied_stay_tied(trained, alone):
    run = Run.open(trained / "tied")
    assert numbers(run) == pytest.approx(numbers(Run.open(alone / "tied"))[:4], rel=1e-4)
    model = run.model("last")
    assert model.head.weight is model.embed.weight


def test_what_four_saved_one_goes_on_with_and_exports(trained, tmp_path):
    """Four saved, split among them; two resumed; here one more process does, and exports."""
    from transformers import AutoModelForCausalLM

    from whence.interop.exporting import export_model

    run = Run.open(trained / "tied")
    assert run.checkpoints[-1] == 4
    finish(run)
    assert len(losses(run)) == 8
    export_model(run, "hf", tmp_path / "out", at="last")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").num_parameters() > 0


def test_a_replay_by_one_says_how_many_there_were(trained):
    run = Run.open(trained / "plain")
    moment = run.at(3, approximate=True)
    assert "processes was 4 and is 1" in moment.how_far_off() or not moment.differences


def test_a_full_disk_of_one_process_ends_it_with_a_sentence(trained):
    said = json.loads((trained / "full.error").read_text())
    assert "process 1" in said
    assert "No space left on device" in said
    assert "make room" in said
    finish(Run.open(trained / "full"))  # and it goes on
    assert len(losses(Run.open(trained / "full"))) == 8


@pytest.fixture
def started():
    """Start commands that are ended with all their processes, however the test ends."""
    launchers: list[subprocess.Popen] = []

    def begin(*words: str) -> subprocess.Popen:
        launchers.append(start(*words))
        return launchers[-1]

    yield begin
    for launcher in launchers:
        if launcher.poll() is None:
            for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
                process.kill()
            launcher.communicate()


def test_a_process_that_is_killed_ends_the_run_with_a_sentence_and_it_resumes(tmp_path, started):
    text, out = tmp_path / "t.txt", tmp_path / "run"
    text.write_text("the cat sat on the mat.\n" * 400)
    words = [str(text), *TINY, "--steps", "100000", "--out", str(out), "--processes", "2"]
    launcher = started("train", *words, "--record.checkpoint-every", "20")
    checkpoints = out / "checkpoints"
    wait_for(launcher, lambda: checkpoints.is_dir() and any(checkpoints.glob("[0-9]*/state.json")))
    children = psutil.Process(launcher.pid).children(recursive=True)
    victim = next(c for c in children if environment(c).get("RANK") == "1")
    os.kill(victim.pid, signal.SIGKILL)
    _, told = launcher.communicate(timeout=200)
    assert launcher.returncode == 2
    said = [line for line in told.splitlines() if line.startswith("whence:")]
    assert len(said) == 1, told
    assert "process 1 of 2 was killed (signal 9)" in said[0]
    assert "--processes 2" in said[0]
    run = Run.open(out)
    n = len(run.steps)
    assert n >= 20
    for event in run.train(should_stop=lambda: len(Run.open(out).steps) > n):
        assert type(event).__name__ != "NotFiniteError"
    assert len(Run.open(out).steps) > n


def test_all_start_again_when_one_is_killed_and_ctrl_c_saves(tmp_path, started):
    text, out = tmp_path / "t.txt", tmp_path / "run"
    text.write_text("the cat sat on the mat.\n" * 400)
    words = [str(text), *TINY, "--steps", "100000", "--out", str(out), "--processes", "2"]
    launcher = started("train", *words, "--restarts", "1", "--record.checkpoint-every", "20")
    checkpoints = out / "checkpoints"
    wait_for(launcher, lambda: checkpoints.is_dir() and any(checkpoints.glob("[0-9]*/state.json")))
    children = psutil.Process(launcher.pid).children(recursive=True)
    first = {c.pid for c in children}
    os.kill(next(c.pid for c in children if environment(c).get("RANK") == "1"), signal.SIGKILL)
    wait_for(launcher, lambda: len(Run.open(out).header.segments) == 2)
    n = len(Run.open(out).steps)
    wait_for(launcher, lambda: len(Run.open(out).steps) > n + 5)
    now = psutil.Process(launcher.pid).children(recursive=True)
    assert not first & {c.pid for c in now}
    for process in [psutil.Process(launcher.pid), *now]:  # as a terminal does it
        process.send_signal(signal.SIGINT)
    told, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, told + errors
    assert "stopped and saved before step" in told
    run = Run.open(out)
    assert run.checkpoints[-1] == len(run.steps)


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def wait_for(process: subprocess.Popen, there) -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def test_parts_are_shared_side_by_side_whatever_is_left_out():
    parts = [(0.25, letter) for letter in "abcd"]
    for size in (1, 2, 4):
        shared = [p for rank in range(size) for p in own_parts(parts, 4, rank, size)]
        assert shared == parts
    assert own_parts(parts[:3], 4, 1, 2) == [(0.25, "c"), (0.0, "a")]


def test_the_order_of_addition_is_a_tree():
    """By hand: 1 and three tiny numbers, which a tree of pairs adds to another sum than a chain."""
    import torch

    tiny = 2.0**-24
    values = [1.0, tiny, tiny, tiny]
    weight = torch.nn.Parameter(torch.zeros(1))
    batches = {0: [(1.0, torch.tensor([value])) for value in values]}
    ordered = Ordered(batches, lambda model, part: (weight * part).sum(), 4, [weight])
    for share, part in ordered[0]:
        (share * ordered.loss(None, part)).backward()
    tree = (torch.tensor(1.0) + tiny) + (torch.tensor(tiny) + tiny)
    assert weight.grad.item() == tree.item()
    assert weight.grad.item() != (((torch.tensor(1.0) + tiny) + tiny) + tiny).item()


def test_what_can_not_be_shared_is_refused():
    with pytest.raises(WhenceError, match="fsdp doesn't support"):
        Hardware(parallel="fsdp", reduction="ordered")


def test_each_training_by_many_has_a_run_of_its_own(tmp_path, monkeypatch):
    """The run is on disk before a process starts: two commands at once don't share a name."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.txt").write_text(TEXT, encoding="utf-8")
    launched: list[list[str]] = []

    def launch(words, processes, restarts, run):
        assert Run.open(run).recipe.accumulate == 4
        launched.append(words)

    monkeypatch.setattr("whence.cli.training.train.launch", launch)
    for _ in range(2):
        assert whence("train", "tiny.txt", *TINY, "--processes", "4", "--json") == 0
    assert launched == [["resume", f"runs/tiny-{n}", "--json"] for n in (1, 2)]
