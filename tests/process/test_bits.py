"""Bits under callers of every kind: ours all the same, or what differs is named."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.runs.tiny import CPU, RECIPES, WIDE, finish, losses, make, sign
from whence.errors import WhenceError
from whence.runs.replay import ReplayError
from whence.runs.run import Run
from whence.scale.hardware import Hardware
from whence.scale.openmp import library

ROOT = Path(__file__).parents[2]
BF16 = replace(CPU, precision="bf16")
# Wide enough for oneDNN's kernels; tied weights and dropout are where autocast's copies matter.
RECIPE = {
    "fp32": replace(WIDE["gpt"], steps=6, hardware=CPU),
    "bf16, tied": replace(RECIPES["gpt2, tied"], steps=6, hardware=BF16),
    "dropout": replace(RECIPES["dropout"], steps=6),
}


@contextmanager
def put_back(change: Callable[[], object], back: Callable[[], object]):
    change()
    try:
        yield
    finally:
        back()


def precision(name: str) -> AbstractContextManager:
    return put_back(
        lambda: torch.set_float32_matmul_precision(name),
        lambda: torch.set_float32_matmul_precision("highest"),
    )


CALLERS: dict[str, Callable[[], AbstractContextManager]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast without copies": lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    "products in bfloat16": lambda: precision("medium"),
    "double by default": lambda: put_back(
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "two threads": lambda: put_back(
        lambda: torch.set_num_threads(2), lambda: torch.set_num_threads(1)
    ),
    "no flash attention": lambda: put_back(
        lambda: torch.backends.cuda.enable_flash_sdp(False),
        lambda: torch.backends.cuda.enable_flash_sdp(True),
    ),
    "no oneDNN": lambda: put_back(
        lambda: torch._C._set_mkldnn_enabled(False), lambda: torch._C._set_mkldnn_enabled(True)
    ),
    "no denormals": lambda: put_back(
        lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)
    ),
    "without gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "another device": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, Run]:
    """Each recipe, trained by a caller who changed nothing."""
    runs = {name: make(tmp_path_factory.mktemp("run") / "run", r) for name, r in RECIPE.items()}
    for run in runs.values():
        finish(run)
    return runs


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", RECIPE)
def test_a_caller_with_other_settings_trains_and_replays_the_same_bits(
    caller, name, usual, tmp_path
):
    run = usual[name]
    for folder in (run.path / "checkpoints").iterdir():
        if folder.name != "000006":
            folder.rename(tmp_path / folder.name)  # so that every step is replayed
    sign(run)
    with CALLERS[caller]():
        again = make(tmp_path / "again", RECIPE[name])
        finish(again)
        moment = Run.open(run.path).at(5)
        assert moment.replayed == 5
        moment.advance()
    assert losses(again) == losses(run)


def test_every_caller_at_once(usual, tmp_path):
    with ExitStack() as all_of_them:
        for name in set(CALLERS) - {"inference", "another device"}:
            all_of_them.enter_context(CALLERS[name]())
        again = make(tmp_path / "again", RECIPE["bf16, tied"])
        finish(again)
    assert losses(again) == losses(usual["bf16, tied"])


def in_process(code: str, **environment: str) -> subprocess.CompletedProcess:
    """A program of its own: some settings are read once, when a library is loaded."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "ONEDNN_", "MKL_"))}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**clean, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


REWIND = """
from whence.errors import WhenceError
from whence.runs.run import Run
try:
    print("exact", Run.open({path!r}).at(3).replayed)
except WhenceError as error:
    print(error)
"""


def test_other_instructions_of_onednn_are_named(tmp_path):
    """Bits are the processor's there; what it was told to leave out stands in the reason."""
    least = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    recipe = replace(WIDE["gpt"], steps=4, hardware=BF16)
    run = make(tmp_path / "run", recipe)
    finish(run)
    found = in_process(REWIND.format(path=str(run.path)), **least).stdout
    if not found.startswith("exact"):  # another processor may have no newer instructions
        assert "likely because the environment had no variable that chooses kernels" in found
        assert "and has ONEDNN_MAX_CPU_ISA=AVX2" in found


def test_a_difference_that_no_setting_explains_blames_none(usual):
    run = Run.open(usual["fp32"].path)
    records = list(run.steps)
    records[2] |= {"loss": 1.25, "loss_hex": (1.25).hex()}
    kept = (run.path / "steps.jsonl").read_bytes()
    run.logs.steps.replace(records)
    sign(run)
    try:
        with pytest.raises(ReplayError, match="nothing the manifest knows of has changed"):
            Run.open(run.path).at(3)
    finally:
        (run.path / "steps.jsonl").write_bytes(kept)
        sign(run)


SHORT = """
import torch
torch.set_num_threads(2)
out = torch.full((256, 256), torch.nan, dtype=torch.bfloat16)
torch.mm(torch.ones(256, 256).bfloat16(), torch.ones(256, 256).bfloat16(), out=out)
print(int(out.isnan().sum()))
"""
TRAIN = """
import json
from tests.process.test_bits import trained
for threads in {threads}:
    print(json.dumps(trained(threads)))
"""


def trained(threads: int | None) -> tuple[int, list[str]] | str:
    """How many threads a run got, and its losses; or by what it was refused."""
    recipe = replace(WIDE["gpt"], steps=2, hardware=replace(BF16, threads=threads))
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = make(Path(folder) / "run", recipe)
            finish(run)
        except WhenceError as error:
            return str(error)
        return run.recipe.hardware.threads, losses(run)


@pytest.fixture(scope="module")
def freely() -> dict[int, list[str]]:
    """Losses by number of threads, in a process that nothing is told of threads."""
    told = in_process(TRAIN.format(threads=(1, 2))).stdout.splitlines()
    return dict(json.loads(line) for line in told)


def test_fewer_threads_than_counted_are_refused_and_the_default_follows_the_limit(freely):
    """With OMP_THREAD_LIMIT=1 PyTorch counts two threads and oneDNN's second half isn't written."""
    if library() is None:
        pytest.skip("OpenMP isn't a library of its own here")
    code = TRAIN.format(threads=(2, None)) + SHORT
    told = in_process(code, OMP_THREAD_LIMIT="1").stdout.splitlines()
    refused, (threads, found), unwritten = map(json.loads, told)
    assert "hardware.threads is 2 and OMP_THREAD_LIMIT allows 1" in refused
    assert threads == 1
    assert found == freely[1]
    assert unwritten in (0, 256 * 128)  # the cause, in PyTorch alone


def test_a_busy_machine_takes_no_threads_away(freely):
    """OMP_DYNAMIC lets OpenMP give fewer threads beside other work; our steps don't let it."""
    told = in_process(TRAIN.format(threads=(2,)), OMP_DYNAMIC="true").stdout
    assert json.loads(told)[1] == freely[2]


def test_hardware_says_which_limit(monkeypatch):
    monkeypatch.setattr("whence.scale.openmp.thread_limit", lambda: 2)
    assert Hardware(device="cpu", threads=2).resolved().threads == 2
    with pytest.raises(WhenceError, match=r"threads is 3 .* --hardware.threads 2"):
        Hardware(device="cpu", threads=3).resolved()
