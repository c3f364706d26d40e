"""Two processes that want one name, and folders that are removed: nobody sees half of anything."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.runs.tiny import RECIPE, SOURCE, finish, make
from whence.data import text_source
from whence.data.texts import cutting
from whence.errors import WhenceError
from whence.experiments.training.ladder import _begin as begin
from whence.interop.exporting import export_model
from whence.interop.importing import import_model
from whence.models import llama_config
from whence.runs.run import Run
from whence.runs.store.aside import TakenError, sweep
from whence.runs.training import creation
from whence.runs.training.creation import free_path
from whence.runs.upkeep.verify import verify
from whence.studio.commands import start
from whence.studio.texts import Texts
from whence.watch import watch

ROOT = Path(__file__).parents[2]
CREATE = """
import os, sys, time
from dataclasses import replace
from tests.runs.tiny import RECIPE, SOURCE
from whence.runs.run import Run
data = replace(RECIPE.data, tokenizer=sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    folder, wait = line.split()
    os.chdir(folder)
    time.sleep(float(wait))
    run = Run.create(replace(RECIPE, data=data, steps=3), source=SOURCE)
    for event in run.train():
        pass
    print(run.path, flush=True)
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two processes that create and train a run, with different tokenizers, when they are told."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    made = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path_factory.mktemp("names"),
            env=environment,
        )
        for kind in ("chars", "bytes")
    ]
    for process in made:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    yield made
    for process in made:
        process.communicate(timeout=300)
        assert process.returncode == 0


@pytest.mark.parametrize("offset", [0.0, 0.01, 0.05])
def test_two_creations_of_one_text_at_once(both, tmp_path_factory, offset):
    """Different tokenizers, as two people at one machine would: each has its own run."""
    folder = tmp_path_factory.mktemp("offset")
    for process, wait in zip(both, (0.0, offset), strict=True):
        process.stdin.write(f"{folder} {wait}\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in both]
    assert sorted(said) == [str(Path("runs/bottles-1")), str(Path("runs/bottles-2"))]
    for path, kind in zip(said, ("chars", "bytes"), strict=True):
        run = Run.open(folder / path)
        assert run.recipe.data.tokenizer == kind
        assert verify(run).exact
    assert sorted(p.name for p in (folder / "runs").iterdir()) == ["bottles-1", "bottles-2"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the harness forks")
def test_two_commands_at_once_lose_nothing():
    """A sample of `python -m tests.runs.twins`."""
    words = [sys.executable, "-m", "tests.runs.twins", "--rounds", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment, check=False, timeout=590
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs begun at once with another, 0 lost" in done.stdout


def test_the_next_name_is_taken_where_another_was_first(tmp_path, monkeypatch):
    """The other one ends between the choice of the name and the end of making it."""
    monkeypatch.chdir(tmp_path)
    prepare = cutting.prepare
    began = threading.Event()

    def slow(*arguments, **options):
        if not began.is_set():
            began.set()
            make(Path("runs/bottles-1"), seed=1)
        return prepare(*arguments, **options)

    monkeypatch.setattr(cutting, "prepare", slow)
    run = Run.create(RECIPE, source=SOURCE)
    assert run.path == Path("runs/bottles-2")
    assert Run.open("runs/bottles-1").recipe.seed == 1
    with pytest.raises(TakenError, match="already exists: continue it with"):
        Run.create(RECIPE, "runs/bottles-2", SOURCE)


def test_what_a_killed_creation_left_is_swept_and_what_lives_is_not(tmp_path):
    left = tmp_path / ".mine.0123abcd.part"
    left.mkdir()
    (left / "tokens.bin").write_bytes(b"x" * 99)
    (tmp_path / ".mine.part").mkdir()  # not a name of ours
    seen = []

    def chunks():
        seen.append(sorted(p.name for p in tmp_path.iterdir() if p.name != ".mine.part"))
        sweep(tmp_path)  # as another creation would
        yield SOURCE_TEXT

    SOURCE_TEXT = "some text to read, again and again. " * 50
    run = Run.create(RECIPE, tmp_path / "mine", text_source("t", chunks))
    assert run.state == "new"
    assert not left.exists()
    assert any(len(names) == 1 and names[0].endswith(".part") for names in seen)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mine.part", "mine"]


def test_a_removal_that_fails_half_way_frees_the_name(own, monkeypatch):
    def fails(path, **_):
        (path / "run.toml").unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", fails)
    with pytest.raises(WhenceError, match=r"could only partly be removed \(Input/output error\)"):
        own.remove()
    monkeypatch.undo()
    assert not own.path.exists()
    finish(make(own.path, steps=2))  # the name is free, and what was left is swept
    assert [p.name for p in own.path.parent.iterdir()] == ["own"]


def test_a_run_that_is_trained_is_not_removed(own):
    training = own.train(steps=30)
    next(training)
    with pytest.raises(WhenceError, match="another process is training"):
        Run.open(own.path).remove()
    training.close()
    assert Run.open(own.path).checkpoints == [5, 10, 15, 20]


def watched_loop(whole: Run) -> Path:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, tell=lambda sentence: None) as recorder:
        return recorder.path


def imported(whole: Run) -> Path:
    llama = replace(
        RECIPE, model=llama_config(n_layers=1, n_heads=2, d_model=16, context_length=16)
    )
    run = Run.create(replace(llama, steps=2), Path("made here"), SOURCE)
    finish(run)
    return import_model(export_model(run, "hf", Path("out")), None, SOURCE).path


# Each makes a folder under a name of its own choosing.
CHOOSING = {
    "create": lambda whole: Run.create(RECIPE, source=SOURCE).path,
    "watch": watched_loop,
    "import": imported,
    "ladder": lambda whole: begin(None, SOURCE, 1.0, RECIPE),
    "studio": lambda whole: (
        Path("runs")
        / start(Texts(Path("runs")), model="bigram", settings={"steps": 2}, paused=True)["run"]
    ),
}


@pytest.mark.parametrize("kind", CHOOSING)
def test_a_name_that_another_takes_meanwhile_is_left_to_it(kind, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = []

    def taken_at_once(folder: Path, name: str) -> Path:
        path = free_path(folder, name)
        if not chosen:  # the other process is the first to end
            path.mkdir(parents=True)
            (path / "theirs").touch()
        chosen.append(path)
        return path

    monkeypatch.setattr(creation, "free_path", taken_at_once)
    made = CHOOSING[kind](whole)
    assert len(chosen) == 2
    assert made.resolve() == chosen[1].resolve()
    assert os.listdir(chosen[0]) == ["theirs"]
