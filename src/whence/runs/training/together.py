"""What the processes of one training do when their leader says so, and states that are split.

A state whose weights are split is written by PyTorch's distributed checkpoints (DCP), as a file of
safetensors for each process, and put together to the files of any other run; each process reads its
share out of those. So a run can go on with another number of processes, or one, and be exported.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from whence.errors import WhenceError
from whence.models import Model, build
from whence.runs.run import Run
from whence.runs.store.checkpoints import (
    PARTS,
    check_checkpoint,
    folder_name,
    load_model,
    load_optimizer,
    saved_steps,
)
from whence.runs.training.session import Session, assemble
from whence.scale.team import Order, Team
from whence.train.optimizer import NotFiniteError
from whence.train.shards import own, split_as, whole

SHARDS = ".shards"  # a folder in the run's folder of checkpoints


def is_split(session: Session) -> bool:
    """Tell whether the weights are split among processes."""
    return session.team is not None and session.hardware.parallel == "fsdp"


def follow(session: Session, folder: Path) -> None:
    """Do what the leader says, until it says that it is over.

    Args:
        session: this process's.
        folder: the run's folder of checkpoints.
    """
    assert session.team is not None
    while True:
        order, step, length = session.team.hear()
        if order is Order.STEP:
            session.optimizer.steps = length
            with suppress(NotFiniteError):  # the leader has it as well, and says so
                for _ in session.learn([step]):
                    pass
        elif order is Order.SHARDS:
            with suppress(WhenceError):  # as above
                _write_shards(session, folder)
        elif order is Order.WHOLE:
            _gather(session)
        else:
            return


def restore(session: Session, folder: Path, step: int) -> None:
    """Put a checkpoint's state into a session, each process its share.

    Args:
        session: in its first state.
        folder: the run's folder of checkpoints.
        step: which.

    Raises:
        WhenceError: where a file is missing or damaged.
    """
    if not is_split(session):
        load_model(folder, step, session.model)
        session.optimizer.load_state(load_optimizer(folder, step), step)
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
        for name in file.keys():  # noqa: SIM118  # it is no dictionary
            owner = session.optimizer.named[name.rpartition(".")[0]]
            memory[name] = torch.zeros_like(owner)
    state |= memory
    dcp.load(state, storage_reader=HuggingFaceStorageReader(str(path)))
    session.optimizer.memory.clear()
    session.optimizer.memory.update({name: own(tensor) for name, tensor in memory.items()})
    session.optimizer.index = step


def gathered(session: Session) -> Model:
    """Return, in the leader, a copy of the model with all of its weights."""
    assert session.team is not None
    session.team.tell(Order.WHOLE)
    tensors = _gather(session)
    model = build(session.recipe.model, session.dataset.tokenizer.vocab_size)
    session.task.prepare(model)
    model.to(session.hardware.device)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(tensors[name])
    return model


def _gather(session: Session) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: whole(tensor) for name, tensor in session.model.state_dict().items()}


def _split_state(session: Session) -> dict[str, Any]:
    """Weights and the optimiser's memory as DCP takes them; tied weights once."""
    seen: set[int] = set()
    state: dict[str, Any] = {}
    for name, tensor in session.model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            state[name] = tensor.detach()
        seen.add(id(tensor))
    named = session.optimizer.named
    for name, share in session.optimizer.memory.items():
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
    _write_shards(session, folder)
    memory = set(session.optimizer.memory)
    weights = set(_split_state(session)) - memory

    def fill(path: Path) -> None:
        for part, names in zip(PARTS, (weights, memory), strict=True):
            _put_together(folder / SHARDS, path / part, names)
        shutil.rmtree(folder / SHARDS, ignore_errors=True)

    return fill


def _write_shards(session: Session, folder: Path) -> None:
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


def take_part(team: Team) -> None:
    """Train as a follower: open the run that the leader names, and do what it says.

    Raises:
        WhenceError: where the run can't be opened here.
    """
    told = team.share(None)
    if told is None:  # the leader has found that there is nothing to train
        return
    run = Run.open(told["run"])
    recipe = replace(run.header.recipe, steps=told["steps"])
    session = assemble(recipe, run.dataset, team)
    if told["start"] in saved_steps(run.checkpoint_folder):  # else it is 0, the first weights
        restore(session, run.checkpoint_folder, told["start"])
    follow(session, run.checkpoint_folder)
