"""What a plan says of a step, against torch's counter, arithmetic by hand and a real process."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
from torch.utils.flop_counter import FlopCounterMode

from tests.cli.command import TINY, start
from tests.runs.tiny import RECIPE, SOURCE, make
from whence.errors import WhenceError
from whence.models import LSTMConfig, gpt2_config
from whence.runs.planning import plan_run
from whence.runs.recipe import Recipe, usual
from whence.runs.training.session import assemble
from whence.scale.machines import MACHINES, machine
from whence.train.optimizers import AdamWConfig

L, D, T, B = 2, 32, 16, 4
GPT2 = gpt2_config(n_layers=L, n_heads=2, d_model=D, context_length=T)


def recipe(**changes):
    """By AdamW: an update without matrix products, which a step's operations leave out."""
    return replace(RECIPE, **{"batch_size": B, "optimizer": AdamWConfig(), **changes})


@pytest.mark.parametrize(("precision", "accumulate"), [("fp32", 1), ("bf16", 2)])
def test_operations_are_those_that_torch_counts_in_a_real_step(tmp_path, precision, accumulate):
    hardware = replace(RECIPE.hardware, precision=precision)
    asked = recipe(model=GPT2, hardware=hardware, accumulate=accumulate)
    told = plan_run(asked, SOURCE, seconds=0)
    run = make(tmp_path / "run", asked)
    session = assemble(run.recipe, run.dataset)
    with FlopCounterMode(display=False) as counted:
        for _ in session.learn(range(1)):
            pass
    assert told.step.flops == counted.get_total_flops()
    assert told.n_parameters == sum(p.numel() for p in session.model.parameters())


def test_operations_of_a_gpt_by_hand():
    """Six for each weight and token, and attention's two products three times over."""
    told = plan_run(recipe(model=GPT2), SOURCE, seconds=0)
    weights = L * 12 * D * D + D * SOURCE_LETTERS
    attention = L * 2 * (2 * T * T * D) * B
    assert told.step.flops == 6 * weights * B * T + 3 * attention


SOURCE_LETTERS = len(set("".join(SOURCE.chunks())))


def test_operations_of_a_fused_lstm_by_hand():
    """The first layer's input needs a gradient as well: it is the embedding."""
    told = plan_run(
        recipe(model=LSTMConfig(d_model=D, context_length=T, n_layers=1)), SOURCE, seconds=0
    )
    per_token = 4 * D * 2 * D + D * SOURCE_LETTERS
    assert told.step.flops == 6 * per_token * B * T


MEASURED = """
import re, sys, tempfile, psutil
from pathlib import Path
from dataclasses import replace
from tests.runs.tiny import RECIPE, SOURCE
from whence.data import prepare
from whence.models import gpt2_config
from whence.runs.planning import plan_run
from whence.runs.recipe import Recipe, usual
from whence.runs.training.creation import resolve
from whence.runs.training.session import assemble
model = gpt2_config(n_layers=4, n_heads=4, d_model=384, context_length=128)
asked = replace(RECIPE, batch_size=16, model=model, steps=3)
dataset = prepare(SOURCE, "chars", None, 0.1, Path(tempfile.mkdtemp()))
if sys.argv[1] == "plan":
    print(plan_run(asked, SOURCE, seconds=0).memory)
else:
    session = assemble(resolve(asked, SOURCE), dataset)
    for _ in session.learn(range(3)):
        pass
    # Not ru_maxrss, which begins with what the process had that started this one.
    status = Path("/proc/self/status").read_text()
    print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is read from /proc")
def test_memory_is_what_a_process_takes():
    """The oracle is the kernel: the most memory that a process of its own ever held."""
    told, took = (
        int(
            subprocess.run(
                [sys.executable, "-c", MEASURED, what], capture_output=True, text=True, check=True
            ).stdout
        )
        for what in ("plan", "train")
    )
    assert told == pytest.approx(took, rel=0.15)


def test_what_real_steps_took_beside_the_blocks_counts(monkeypatch):
    known = plan_run(recipe(), SOURCE, seconds=0)
    more = known.step.memory + 7_000_000
    monkeypatch.setattr("whence.runs.planning._timed", lambda recipe, dataset, s: (0.01, more))
    told = plan_run(recipe(), SOURCE, seconds=1)
    assert told.gaps == 7_000_000
    assert told.memory == told.process + told.step.memory + 7_000_000
    assert told.to_dict()["memory"]["peak"] == told.memory
    assert told.fits
    assert not replace(told, gaps=told.room).fits
    monkeypatch.setattr("whence.runs.planning._timed", lambda recipe, dataset, s: (0.01, 0))
    assert plan_run(recipe(), SOURCE, seconds=1).gaps == 0  # nobody can tell


def test_counting_before_the_first_step_is_memory_too(monkeypatch):
    counted = replace(usual(Recipe(), "ngram-gpt"), steps=2, batch_size=2)
    without = plan_run(counted, SOURCE, seconds=0)
    held = psutil.Process().memory_info().rss
    peaks = itertools.cycle((0, held + (9 << 30)))
    monkeypatch.setattr("whence.runs.planning.peak_memory", lambda: next(peaks))
    told = plan_run(counted, SOURCE, seconds=0)
    assert told.preparing == pytest.approx(9 << 30, rel=0.05)
    assert told.memory == told.process + told.preparing
    assert told.to_dict()["memory"]["preparing"] == told.preparing
    assert without.memory < told.memory
    monkeypatch.setattr("whence.runs.planning.peak_memory", lambda: held + (9 << 30))
    assert plan_run(counted, SOURCE, seconds=0).preparing == 0  # the peak was another's
    assert told.fits == (told.preparing <= told.room)
    assert plan_run(recipe(), SOURCE, seconds=0).preparing == 0  # nothing is counted


def test_what_does_not_fit_is_told_with_what_to_change():
    asked = recipe(
        model=gpt2_config(n_layers=2, n_heads=2, d_model=64, context_length=256), batch_size=8
    )
    whole = plan_run(asked, SOURCE, seconds=0)
    assert whole.fits
    tight = plan_run(asked, SOURCE, memory=whole.step.memory // 2, seconds=0)
    assert not tight.fits
    assert "--accumulate" in tight.advice
    parts = int(tight.advice.split()[-1])
    assert plan_run(replace(asked, accumulate=parts), SOURCE, memory=tight.room, seconds=0).fits


def test_the_largest_batch_fits_and_one_beyond_does_not():
    asked = recipe(model=GPT2)
    room = 3_000_000
    most = plan_run(asked, SOURCE, memory=room, seconds=0).largest_batch
    assert plan_run(replace(asked, batch_size=most), SOURCE, memory=room, seconds=0).fits
    more = replace(asked, batch_size=most + most // 4)
    assert not plan_run(more, SOURCE, memory=room, seconds=0).fits


def test_another_machine_is_reckoned_by_its_published_peak():
    told = plan_run(recipe(model=GPT2), SOURCE, on=machine("H100"))
    assert told.seconds == pytest.approx(told.step.flops / (0.4 * 66.9e12))  # the recipe says fp32
    assert "published peak of the NVIDIA H100" in told.how
    with pytest.raises(WhenceError, match="did you mean h100"):
        machine("h1000")
    assert all(m.fp32 > 0 for m in MACHINES.values())


def test_the_command_tells_it_in_one_object(tmp_path):
    (tmp_path / "t.txt").write_text("the cat sat on the mat.\n" * 200)
    words = [str(tmp_path / "t.txt"), *TINY, "--steps", "50", "--seconds", "0.2", "--json"]
    done = start("plan", *words)
    told = json.loads(done.communicate(timeout=300)[0])
    assert done.returncode == 0
    assert told["parameters"] == sum(told["parameters_by_part"].values())
    assert told["seconds"] == pytest.approx(50 * told["seconds_per_step"])
    assert told["tokens"] == 50 * 8 * 16
    assert told["how"].startswith("measured")
