"""The same recipe gives the same bits, twice, in processes of their own."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.tiny import CPU, RECIPES, RUNGS, SHORT, WIDE, finish, losses, make, variants
from whence import Run
from whence.errors import WhenceError
from whence.models import NGramConfig
from whence.runs.recipe import Recipe
from whence.runs.replay import ReplayError
from whence.runs.upkeep.verify import verify
from whence.scale import hardware

ROOT = Path(__file__).parents[2]
AGAIN = """
import json, sys, tempfile
from hashlib import sha256
from pathlib import Path
from tests.runs.test_determinism import COMPILED, EAGER
from tests.runs.tiny import files, finish, losses, make
found = {}
for name in sys.argv[1:] or EAGER:
    recipe = {**EAGER, **COMPILED}[name]
    run = make(Path(tempfile.mkdtemp()) / "run", recipe)
    finish(run)
    found[name] = [losses(run), *(sha256(part).hexdigest() for part in files(run, recipe.steps))]
print(json.dumps(found))
"""


def _on(recipe: Recipe, **changes: object) -> Recipe:
    return replace(recipe, hardware=replace(recipe.hardware, **changes))


# Every rung plain, with dropout, accumulation and in bf16, with one thread and with two; and what
# RECIPES has besides, the optimizers and tied weights. A few steps: the next would differ as well.
FEW = {name: replace(recipe, steps=3) for name, recipe in RUNGS.items()}
EAGER = {
    f"{name}, {variant}, {threads} threads": _on(recipe, threads=threads)
    for threads, rungs in ((1, FEW), (2, WIDE))
    for name, whole in rungs.items()
    for variant, recipe in variants(whole).items()
}
EAGER |= {n: r for n, r in RECIPES.items() if n not in RUNGS and n not in variants(RUNGS["gpt"])}
EAGER["ngram"] = replace(RECIPES["gpt"], model=NGramConfig(order=3), steps=1)  # counted
RECURRENT = {name: SHORT[name] for name in ("rnn", "lstm", "gru", "gru by formula")}
COMPILED = {
    f"{name}, compiled": _on(variants(recipe)["dropout"], threads=2, compile=True)
    for name, recipe in (WIDE | RECURRENT).items()
}


def twice(*names: str) -> tuple[dict, dict]:
    """What two processes computed of the same recipes; none: all that aren't compiled."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # four threads on two cores must not spin
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", AGAIN, *names],
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    try:
        one, other = (json.loads(process.communicate(timeout=500)[0]) for process in both)
    finally:
        for process in both:
            process.kill()
    return one, other


@pytest.mark.slow
def test_every_rung_gives_the_same_bits_in_two_processes():
    """Losses, weights and the optimizer's memory."""
    one, other = twice()
    assert list(one) == list(EAGER)
    assert one == other
    for rung in ("gpt", "rnn", "lstm", "gru", "seq2seq"):  # the variants are no mere names
        parts = [one[f"{rung}, {v}, 1 threads"][1] for v in variants(RUNGS[rung])]
        assert len(set(parts)) == 4


@pytest.mark.slow
@pytest.mark.skipif(not hardware.has_compiler(), reason="compiling needs a C++ compiler")
def test_compiled_with_two_threads_gives_the_same_bits_in_two_processes():
    """Two rungs here; `python -m tests.runs.test_determinism` compiles each, RNNs very slowly."""
    one, other = twice("gpt, compiled", "bigram, compiled")
    assert one == other


def test_deterministic_kernels_are_the_default_and_off_marks_the_run(tmp_path):
    import torch

    assert RECIPES["gpt"].hardware.deterministic
    run = make(tmp_path / "run", hardware=replace(CPU, deterministic=False), steps=3)
    with run.session().hardware.in_force():
        assert not torch.are_deterministic_algorithms_enabled()
    finish(run)
    result = verify(run)
    assert not result.deterministic
    assert "allowed kernels that give other bits each time" in result.reasons[0]
    with make(tmp_path / "other", steps=1).session().hardware.in_force():
        assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
@pytest.mark.skipif(not hardware.has_compiler(), reason="compiling needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # those of torch's compiler are its own
def test_a_compiled_run_resumes_replays_and_verifies_compiled(tmp_path):
    recipe = replace(RECIPES["gpt"], hardware=replace(CPU, compile=True), steps=12)
    unbroken, broken = make(tmp_path / "unbroken", recipe), make(tmp_path / "broken", recipe)
    finish(unbroken)
    finish(broken, until=7)
    finish(Run.open(broken.path))
    assert losses(broken) == losses(unbroken)
    assert unbroken.at(8).replayed == 3
    assert verify(Run.open(unbroken.path)).exact
    # A trace opens the step as it runs eagerly: nearly the recorded loss, and every number of it.
    eager = unbroken.at(8).trace().loss.value
    assert eager == pytest.approx(unbroken.steps[8]["loss"], rel=1e-4)


def test_without_a_compiler_a_compiled_run_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "has_compiler", lambda: False)
    with pytest.raises(WhenceError, match=r"needs a C\+\+ compiler"):
        make(tmp_path / "run", hardware=replace(CPU, compile=True))


def test_another_precision_is_another_run(tmp_path):
    """A record made in bf16 can't pass for one in fp32."""
    run = make(tmp_path / "run", hardware=replace(CPU, precision="bf16"), steps=4)
    finish(run)
    run.recipe = replace(run.recipe, hardware=CPU)
    with pytest.raises(ReplayError, match=r"step [01] gives the loss"):
        run.at(3)


if __name__ == "__main__":
    for name in sys.argv[1:] or COMPILED:
        one, other = twice(name)
        print(name, "same bits" if one == other else "OTHER BITS", flush=True)
