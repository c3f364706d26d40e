"""Two processes of DistributedDataParallel: each watches its own part."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.watch.ddp import build
from whence.runs.store.records.record import Logs
from whence.watch import open_step

ROOT = Path(__file__).parents[2]


def test_each_rank_has_its_own_record_and_the_bits_are_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tests/watch/ddp.py", tmp_path],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    states = {}
    for rank in (0, 1):
        plain, watched = (torch.load(tmp_path / f"{w}-{rank}.pt") for w in (0, 1))
        assert all(torch.equal(plain[name], watched[name]) for name in plain)
        states[rank] = watched
        folder = tmp_path / f"run-rank{rank}"
        assert len(Logs(folder).read_steps()) == 6
        past, _ = open_step(folder, 5, build())
        redone = past.redo()
        assert redone.differences == []
        mine = redone.copies.models[""].state_dict()
        assert all(torch.equal(mine[name], watched[name]) for name in mine)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
