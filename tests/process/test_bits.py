"""Bits under callers of every kind: ours all the same, or what differs is named."""

import json
import os
import subprocess
import sys
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
import json, tempfile
from pathlib import Path
from dataclasses import replace
from tests.process.test_bits import BF16, WIDE
from tests.runs.tiny import finish, losses, make
from whence.errors import WhenceError
recipe = replace(WIDE["gpt"], steps=3, hardware=replace(BF16, threads={threads}))
try:
    run = make(Path(tempfile.mkdtemp()) / "run", recipe)
    finish(run)
    print(json.dumps([run.recipe.hardware.threads, losses(run)]))
except WhenceError as error:
    print(json.dumps(str(error)))
"""


def test_fewer_threads_than_counted_are_refused_and_the_default_follows_the_limit():
    """With OMP_THREAD_LIMIT=1 PyTorch counts two threads and oneDNN's second half isn't written."""
    limit = {"OMP_THREAD_LIMIT": "1"}
    refused = json.loads(in_process(TRAIN.format(threads=2), **limit).stdout)
    if library() is None:
        pytest.skip("OpenMP isn't a library of its own here")
    assert "hardware.threads is 2 and OMP_THREAD_LIMIT allows 1" in refused
    threads, found = json.loads(in_process(TRAIN.format(threads=None), **limit).stdout)
    assert threads == 1
    _, one = json.loads(in_process(TRAIN.format(threads=1)).stdout)
    assert found == one
    unwritten = int(in_process(SHORT, **limit).stdout)
    assert unwritten in (0, 256 * 128)  # the cause, in PyTorch alone


def test_a_busy_machine_takes_no_threads_away():
    """OMP_DYNAMIC lets OpenMP give fewer threads beside other work; our steps don't let it."""
    _, usual = json.loads(in_process(TRAIN.format(threads=2)).stdout)
    _, found = json.loads(in_process(TRAIN.format(threads=2), OMP_DYNAMIC="true").stdout)
    assert found == usual


def test_hardware_says_which_limit(monkeypatch):
    monkeypatch.setattr("whence.scale.openmp.thread_limit", lambda: 2)
    assert Hardware(device="cpu", threads=2).resolved().threads == 2
    with pytest.raises(WhenceError, match=r"threads is 3 .* --hardware.threads 2"):
        Hardware(device="cpu", threads=3).resolved()
