"""The probe always finds something that works, and says what it found."""

import os
import subprocess
import sys

import pytest
import torch

from whence.errors import WhenceError
from whence.scale import hardware
from whence.scale.hardware import Hardware, manifest


def test_defaults_resolve_to_this_machine():
    found = Hardware().resolved()
    assert found.device in ("cpu", "cuda", "mps")
    assert found.precision in ("fp32", "bf16")
    assert found.threads >= 1
    assert found.resolved() == found
    assert found.precision in found.summary()
    assert "\n" not in found.summary()


@pytest.mark.parametrize(("has_it", "precision"), [(True, "bf16"), (False, "fp32")])
def test_bfloat16_only_where_the_cpu_has_instructions_for_it(has_it, precision, monkeypatch):
    monkeypatch.setattr(hardware, "_cpu_multiplies_bfloat16", lambda: has_it)
    assert Hardware(device="cpu").resolved().precision == precision


def test_no_compiler_is_no_error_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CXX", raising=False)
    assert not Hardware(device="cpu").resolved().compile
    with pytest.raises(WhenceError, match=r"needs a C\+\+ compiler"):
        Hardware(device="cpu", compile=True).resolved()


def test_missing_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WhenceError, match="device is cuda, but this machine has"):
        Hardware(device="cuda").resolved()


def test_threads_and_deterministic_kernels_are_set_within_and_put_back_behind():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with Hardware(device="cpu", precision="fp32", threads=1).in_force():
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        with Hardware(device="cpu", precision="fp32", threads=3, deterministic=False).in_force():
            assert torch.get_num_threads() == 3
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_bfloat16_context_multiplies_in_bfloat16():
    a = torch.ones(2, 2)
    with Hardware(device="cpu", precision="bf16").context():
        assert (a @ a).dtype == torch.bfloat16
    with Hardware(device="cpu", precision="fp32").context():
        assert (a @ a).dtype == torch.float32


def test_manifest_says_what_bits_depend_on():
    told = manifest(Hardware(device="cpu"))
    assert told["torch"] == torch.__version__
    assert told["threads"] == torch.get_num_threads()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_freed_memory_is_kept_for_the_next_step():
    """In a process of its own: what a step frees is there for the next, without page faults."""
    program = """
import resource, torch
from whence.scale.process import keep_freed_memory
def step():
    blocks = [torch.ones(200_000) for _ in range(40)]
def faults():
    for _ in range(3): step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5): step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
keep_freed_memory()
print(faults())
"""
    words = [sys.executable, "-c", program]
    told = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    given_back, kept = map(int, told.split())
    if given_back > 1000:  # the C library is glibc
        assert kept < given_back / 10
