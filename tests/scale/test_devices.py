"""What other devices and systems would meet, simulated where this machine has none."""

import sys

import pytest
import torch

from whence.data.batches import sent
from whence.scale import team
from whence.scale.conditions import conditions
from whence.scale.hardware import Hardware
from whence.scale.machines import machine_called, utilisation
from whence.train.optimizers import AdamWConfig, Moving, OptimizerState


class Elsewhere:
    """Stands for a tensor, and notes what is asked of it."""

    def __init__(self):
        self.asked: list[tuple] = []

    def pin_memory(self):
        self.asked.append(("pinned",))
        return self

    def to(self, device, non_blocking=False):
        self.asked.append((device, non_blocking))
        return self


def test_batches_go_to_a_gpu_from_pinned_memory_without_waiting():
    tensor = Elsewhere()
    sent(tensor, "cuda")
    sent(tensor, "cuda:1")
    assert tensor.asked == [("pinned",), ("cuda", True), ("pinned",), ("cuda:1", True)]


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_they_are_just_moved(device):
    tensor = Elsewhere()
    sent(tensor, device)
    assert tensor.asked == [(device, False)]


def test_tf32_is_a_choice_and_put_back():
    """The oracle is torch's own reading of its setting."""
    with Hardware(device="cpu", precision="fp32", threads=1, tf32=True).in_force():
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.mkldnn.matmul.fp32_precision != "tf32"
    assert torch.backends.cuda.matmul.fp32_precision in ("none", "ieee")  # both are exact
    with conditions(1, True, "cpu"):
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"


def test_the_fused_kernel_counts_its_steps_where_the_weights_are(monkeypatch):
    """On the meta device, as no GPU is here: no tensor of the update is made anywhere else."""
    told = {}

    def kernel(params, grads, m, v, _, steps, **options):
        told["devices"] = {t.device.type for t in [*params, *grads, *m, *v, *steps]}

    monkeypatch.setattr(torch, "_fused_adamw_", kernel)
    weight = torch.empty(3, device="meta")
    memory = OptimizerState({f"w.{kind}": torch.empty(3, device="meta") for kind in "mv"})
    moving = Moving(["w"], [weight], [weight], [weight], [1e-3], memory, 0, torch.float32)
    AdamWConfig()._by_kernel(moving)
    assert told["devices"] == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU on this machine")
def test_the_fused_kernel_waits_for_nothing_on_a_gpu():
    """torch itself raises where an operation would wait for the device."""
    weight = torch.ones(3, device="cuda")
    memory = OptimizerState({f"w.{kind}": torch.zeros(3, device="cuda") for kind in "mv"})
    moving = Moving(["w"], [weight], [weight], [weight], [1e-3], memory, 0, torch.float32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        AdamWConfig().update(moving)
        sent(torch.ones(4, dtype=torch.long), "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("NVIDIA H100 80GB HBM3", 494.7 / 989.4),
        ("NVIDIA A100-SXM4-80GB", 494.7 / 312),
        ("NVIDIA GeForce RTX 4090", 494.7 / 165.2),
        ("Tesla K80", None),
        ("Apple GPU", None),
    ],
)
def test_mfu_is_of_the_published_peak_and_of_no_other(name, share):
    used = utilisation(494.7e12, name, "bf16")
    assert used == (None if share is None else pytest.approx(share))
    assert (machine_called(name) is None) == (share is None)


def test_a_follower_listens_to_no_signals_that_a_system_lacks(monkeypatch):
    """Windows has no SIGHUP."""
    monkeypatch.delattr(team.signal, "SIGHUP", raising=False)
    ignored: list[object] = []
    monkeypatch.setattr(team.signal, "signal", lambda number, handler: ignored.append(number))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.new_group", lambda **_: None)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    assert not team.join().leads
    assert ignored == [team.signal.SIGINT]


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_cores_are_counted_where_there_is_no_affinity(system, monkeypatch):
    from whence.data.texts import parallel

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.delattr(parallel.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 6)
    assert parallel.cores() == 6
