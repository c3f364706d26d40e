"""The same recipe gives the same bits, twice, in processes of their own."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.tiny import CPU, RECIPES, finish, losses, make
from whence.errors import WhenceError
from whence.runs.replay import ReplayError
from whence.runs.run import Run
from whence.runs.verify import verify
from whence.scale import hardware

ROOT = Path(__file__).parents[2]
AGAIN = """
import json, sys, tempfile
from pathlib import Path
from tests.runs.tiny import RECIPES, files, finish, losses, make
found = {}
for name, recipe in RECIPES.items():
    run = make(Path(tempfile.mkdtemp()) / "run", recipe)
    finish(run)
    found[name] = [losses(run), files(run, recipe.steps)[0].hex()]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_recipe_gives_the_same_bits_in_two_processes():
    """Weights and losses, of each optimiser, dropout, accumulation, bf16, one and two threads."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", AGAIN],
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    one, other = (json.loads(process.communicate(timeout=300)[0]) for process in both)
    assert list(one) == list(RECIPES)
    assert one == other
    assert one["muon"] != one["dropout"]


def test_deterministic_kernels_are_the_default_and_off_marks_the_run(tmp_path):
    import torch

    assert RECIPES["muon"].hardware.deterministic
    run = make(tmp_path / "run", hardware=replace(CPU, deterministic=False), steps=3)
    finish(run)
    assert not torch.are_deterministic_algorithms_enabled()
    result = verify(run)
    assert not result.deterministic
    assert "allowed kernels that give other bits each time" in result.reasons[0]
    finish(make(tmp_path / "other", steps=1))
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
@pytest.mark.skipif(not hardware._has_compiler(), reason="compiling needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # those of torch's compiler are its own
def test_a_compiled_run_resumes_replays_and_verifies_compiled(tmp_path):
    recipe = replace(RECIPES["muon"], hardware=replace(CPU, compile=True), steps=12)
    unbroken, broken = make(tmp_path / "unbroken", recipe), make(tmp_path / "broken", recipe)
    finish(unbroken)
    finish(broken, until=7)
    finish(Run.open(broken.path))
    assert losses(broken) == losses(unbroken)
    assert unbroken.at(8).replayed == 3
    assert verify(Run.open(unbroken.path)).exact


def test_without_a_compiler_a_compiled_run_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_has_compiler", lambda: False)
    with pytest.raises(WhenceError, match=r"needs a C\+\+ compiler"):
        make(tmp_path / "run", hardware=replace(CPU, compile=True))


def test_another_precision_is_another_run(tmp_path):
    """A record made in bf16 can't pass for one in fp32."""
    run = make(tmp_path / "run", hardware=replace(CPU, precision="bf16"), steps=4)
    finish(run)
    run.recipe = replace(run.recipe, hardware=CPU)
    with pytest.raises(ReplayError, match=r"step [01] gives the loss"):
        run.at(3)
