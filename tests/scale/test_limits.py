"""Memory is planned against the least of machine, cgroup and ulimit."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from whence.scale import limits
from whence.scale.limits import memory_left

GB = 1 << 30


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_version_2_and_the_groups_above(tmp_path):
    """The files as the kernel's documentation has them; a group above may be the tighter one."""
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    write(proc, cgroup="0::/user/job")
    write(root / "user/job", memory__max="max", memory__current=GB)
    write(root / "user", memory__max=3 * GB // 100, memory__current=2 * GB // 100)
    (root / "user/memory.stat").write_text(f"anon 1\ninactive_file {GB // 200}\n")
    assert memory_left(proc, root) == 3 * GB // 100 - 2 * GB // 100 + GB // 200


def test_version_1(tmp_path):
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    write(proc, cgroup="9:cpu,cpuacct:/\n4:memory:/of/the/host\n0::/")
    folder = root / "memory"
    write(folder, memory__limit_in_bytes=GB // 50, memory__usage_in_bytes=GB // 100)
    write(folder, memory__stat=f"total_inactive_file {GB // 400}")
    assert memory_left(proc, root) == GB // 50 - GB // 100 + GB // 400


@pytest.mark.parametrize("said", ["", "rubbish", "0::/", "4:memory:/"])
def test_no_limit_is_the_machine(tmp_path, said):
    write(tmp_path / "proc", cgroup=said)
    write(tmp_path / "memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=GB)
    there = psutil.virtual_memory().available
    assert memory_left(tmp_path / "proc", tmp_path) == pytest.approx(there, rel=0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="ulimit is of POSIX")
def test_ulimit_is_obeyed_and_told():
    """What a shell sets by `ulimit -v` is read back, and a model that breaks it is refused."""
    code = """
import resource, psutil
from whence.errors import WhenceError
from whence.models import GPTConfig
from whence.data import text_source
from whence import Recipe, Run
from whence.scale.plan import available_memory
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
assert 0 < available_memory("cpu") <= 1 << 30
try:
    model = GPTConfig(n_layers=12, d_model=1024)
    Run.create(Recipe(model=model), "never", text_source("t", lambda: ["some text. " * 999]))
except WhenceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "of memory and" in done.stdout
    assert "are free" in done.stdout


def test_what_onednn_refuses_counts_as_memory_only_where_there_is_none_left(monkeypatch):
    error = RuntimeError("could not create a primitive")
    monkeypatch.setattr(limits, "memory_left", lambda: 10 << 20)
    assert limits.memory_ran_out(error)
    monkeypatch.setattr(limits, "memory_left", lambda: 10 << 30)
    assert not limits.memory_ran_out(error)
    assert limits.memory_ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
