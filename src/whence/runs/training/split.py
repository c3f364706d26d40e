"""States whose weights are split among processes: saved, taken up again, put together.

A state whose weights are split is written by PyTorch's distributed checkpoints (DCP), as a file of
safetensors for each process, and put together to the files of any other run; each process reads its
share out of those. So a run can go on with another number of processes, or one, and be exported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.models import Model, build
from whence.runs.store.checkpoints import (
    PARTS,
    check_checkpoint,
    folder_name,
    load_model,
    load_optimizer,
)
from whence.scale.team import Order
from whence.train.shards import own, split_as, whole

if TYPE_CHECKING:
    from whence.runs.training.session import Session

SHARDS = ".shards"  # a folder in the run's folder of checkpoints


def is_split(session: Session) -> bool:
    """Tell whether the weights are split among processes."""
    return session.team is not None and session.hardware.parallel == "fsdp"


def restore(session: Session, folder: Path, step: int) -> None:
    """Put a checkpoint's state into a session, each process its share.

    Args:
        session: in its first state.
        folder: the run's folder of checkpoints.
        step: which.

    Raises:
        WhenceError: where a file is missing or damaged.
    """
    import torch.distributed.checkpoint as dcp  # it brings PyTorch's compiler along

    if not is_split(session):
        load_model(folder, step, session.model)
        session.optimizer.load_state_dict(load_optimizer(folder, step), step)
        return
    from safetensors import safe_open
    from torch.distributed.checkpoint import HuggingFaceStorageReader

    aliases = check_checkpoint(folder, step)
    path = folder / folder_name(step)
    state: dict[str, Any] = dict(session.model.state_dict())
    for name in aliases:
        state.pop(name)
    memory: dict[str, Any] = {}
    with safe_open(path / PARTS[1], framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it isn't a dictionary
            owner = session.optimizer.named[name.rpartition(".")[0]]
            memory[name] = torch.zeros_like(owner)
    state |= memory
    dcp.load(state, storage_reader=HuggingFaceStorageReader(str(path)))
    session.optimizer.state.clear()
    session.optimizer.state.update({name: own(tensor) for name, tensor in memory.items()})
    session.optimizer.index = step


def gathered(session: Session) -> Model:
    """Return, in the leader, a copy of the model with all of its weights."""
    assert session.team is not None
    session.team.tell(Order.WHOLE)
    tensors = gather(session)
    model = build(session.recipe.model, session.dataset.tokenizer.vocab_size)
    session.task.prepare(model)
    model.to(session.hardware.device)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(tensors[name])
    return model


def gather(session: Session) -> dict[str, Tensor]:
    """Return all weights by name, as each process's part of it."""
    with torch.no_grad():
        return {name: whole(tensor) for name, tensor in session.model.state_dict().items()}


def _split_state(session: Session) -> dict[str, Any]:
    """Weights and the optimizer's memory as DCP takes them; tied weights once."""
    seen: set[int] = set()
    state: dict[str, Any] = {}
    for name, tensor in session.model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            state[name] = tensor.detach()
        seen.add(id(tensor))
    named = session.optimizer.named
    for name, share in session.optimizer.state.items():
        state[name] = split_as(share, named[name.rpartition(".")[0]])
    return state


def write_shards(session: Session, folder: Path) -> Callable[[Path], None]:
    """Let every process write its share of the state; return what puts them together.

    Args:
        session: the leader's.
        folder: the run's folder of checkpoints.

    Returns:
        Writes the two files of a checkpoint into a folder.

    Raises:
        WhenceError: where a process can't write its share.
    """
    assert session.team is not None
    shutil.rmtree(folder / SHARDS, ignore_errors=True)  # of a process that was killed
    session.team.tell(Order.SHARDS)
    save_shards(session, folder)
    memory = set(session.optimizer.state)
    weights = set(_split_state(session)) - memory

    def fill(path: Path) -> None:
        for part, names in zip(PARTS, (weights, memory), strict=True):
            _put_together(folder / SHARDS, path / part, names)
        shutil.rmtree(folder / SHARDS, ignore_errors=True)

    return fill


def save_shards(session: Session, folder: Path) -> None:
    """Write this process's share of the state, as all do at once.

    Raises:
        WhenceError: where a process can't write its share.
    """
    import torch.distributed.checkpoint as dcp  # it brings PyTorch's compiler along
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.api import CheckpointException

    path = folder / SHARDS
    writer = HuggingFaceStorageWriter(str(path), save_distributed=True)
    try:
        dcp.save(_split_state(session), storage_writer=writer)
    except (CheckpointException, OSError) as error:
        failed = getattr(error, "failures", {})
        who = ", ".join(map(str, sorted(failed))) or "one"
        said = next((str(e[0]) for e in failed.values()), str(error))
        raise WhenceError(
            f"the checkpoint can't be written by process {who} ({said}): make room, then resume "
            "the run."
        ) from error


def _put_together(shards: Path, file: Path, names: set[str]) -> None:
    """Put the shares of some tensors together in one safetensors file, by PyTorch's own means."""
    from safetensors.torch import save_file
    from torch.distributed.checkpoint._consolidate_hf_safetensors import (
        consolidate_safetensors_files,
    )

    if not names:
        save_file({}, file)
        return
    folder = file.with_suffix(".parts")
    folder.mkdir()
    consolidate_safetensors_files(str(shards), str(folder), dict.fromkeys(sorted(names), 1))
    [made] = folder.glob("*.safetensors")
    os.replace(made, file)
    shutil.rmtree(folder)
