"""A script of two processes that train by DistributedDataParallel; run by test_ddp."""

import os
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import whence


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def train(rank, folder, watched):
    os.environ.update(MASTER_ADDR="127.0.0.1")
    store = distributed.FileStore(str(Path(folder) / f"store-{watched}"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = DistributedDataParallel(build())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    recorder = None
    if watched:
        recorder = whence.watch(model, optimizer, out=Path(folder) / "run", keep="all")
    torch.manual_seed(rank)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).pow(2).mean().backward()
        optimizer.step()
    torch.save(model.module.state_dict(), Path(folder) / f"{watched}-{rank}.pt")
    if recorder is not None:
        redone = recorder.at(4).redo()
        assert redone.differences == [], redone.differences
        assert any("changed outside the models" in note for note in redone.notes), redone.notes
        last = recorder.at(5).redo().copies.models[""]
        for a, b in zip(last.parameters(), model.module.parameters(), strict=True):
            assert torch.equal(a, b)
        recorder.close()
    distributed.destroy_process_group()


if __name__ == "__main__":
    for watched in (0, 1):
        # Forked, they needn't import PyTorch each; nothing has been computed here that has threads.
        mp.start_processes(train, args=(sys.argv[1], watched), nprocs=2, start_method="fork")
