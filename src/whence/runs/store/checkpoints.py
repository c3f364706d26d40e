"""Checkpoints: model and optimizer as safetensors, so that nothing is ever unpickled."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from whence.errors import WhenceError
from whence.fields import short
from whence.runs.store.files import (
    SCHEMA,
    DamagedError,
    cannot_write,
    read_json,
    sha256,
    sync_folder,
    write_folder_whole,
)
from whence.runs.store.records.record import Logs, id_of

if TYPE_CHECKING:
    from torch import Tensor, nn

PARTS = ("model.safetensors", "optimizer.safetensors")


def folder_name(step: int) -> str:
    """Return the folder's name of a step's checkpoint.

    Example:
        >>> folder_name(500)
        '000500'
    """
    return f"{step:06d}"


class LetGoError(DamagedError):
    """A checkpoint was removed by a training process while it was being read: choose again."""


def save_checkpoint(
    folder: Path,
    step: int,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    link: Mapping[str, Any] | None = None,
    write: Callable[[Path], None] | None = None,
) -> Path:
    """Save the state before the update of a step, whole or not at all.

    Args:
        folder: the run's folder of checkpoints.
        step: the next step's number; a checkpoint of that step must not be there yet.
        model: name → tensor; tied tensors (one object under two names) are saved once and the
            alias recorded.
        optimizer: name → tensor.
        link: what ties it to its run; see `whence.runs.store.chain.link`.
        write: writes both files into a folder, where their tensors are split among processes.

    Returns:
        The checkpoint's folder.

    Raises:
        WhenceError: where it can't be written; no part of it is left.
    """
    from safetensors.torch import save_file

    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in model.items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        first.setdefault(id(tensor), name)

    def fill(path: Path) -> None:
        try:
            if write is not None:
                write(path)
            else:
                own = {name: t.contiguous() for name, t in model.items() if name not in aliases}
                save_file(own, path / PARTS[0])
                save_file({n: t.contiguous() for n, t in optimizer.items()}, path / PARTS[1])
        except SafetensorError as error:  # how it tells of a full disk
            raise OSError(str(error)) from error
        state = {
            "schema": SCHEMA,
            "step": step,
            "aliases": aliases,
            "bytes": {part: (path / part).stat().st_size for part in PARTS},
            "sha256": {part: sha256(path / part) for part in PARTS},
            **(link or {}),
        }
        (path / "state.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    path = folder / folder_name(step)
    write_folder_whole(path, fill)
    return path


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, in order.

    Raises:
        DamagedError: where the folder can't be read.
    """
    if not folder.is_dir():
        return []
    try:
        names = [p.name for p in folder.iterdir() if re.fullmatch("[0-9]{6,15}", p.name)]
    except OSError as error:
        raise DamagedError(folder, f"it can't be read ({error.strerror or error})") from error
    return sorted(int(name) for name in names if folder_name(int(name)) == name)


def remove_checkpoint(folder: Path, step: int) -> None:
    """Remove a checkpoint so that a kill leaves no half of it under its name.

    Raises:
        WhenceError: where it can't be removed.
    """
    path, gone = folder / folder_name(step), folder / f".{folder_name(step)}.gone"
    try:
        shutil.rmtree(gone, ignore_errors=True)  # of a removal that was broken off
        path.rename(gone)
        sync_folder(folder)
        shutil.rmtree(gone)
    except OSError as error:
        raise cannot_write(path, error) from error


def saved_line(folder: Path, step: int) -> dict[str, Any]:
    """Return the line of checkpoints.jsonl that pins a checkpoint."""
    pin = sha256(folder / folder_name(step) / "state.json")
    return {"step": step, "state": pin, "kept": True}


def check_checkpoint(folder: Path, step: int) -> dict[str, str]:
    """Check that a checkpoint's files are those that were written, and the run's own.

    Returns:
        Tied weights: name → the name under which it was saved.

    Raises:
        DamagedError: naming the file that isn't.
    """
    state = folder / folder_name(step) / "state.json"
    record = folder.parent / "checkpoints.jsonl"
    with _while_there(folder, step):
        if record.is_file():
            run = id_of(record)
            pin = Logs(folder.parent, run).kept().get(step)
            if read_json(state).get("run", "") != run:
                raise DamagedError(state, "it is of another run")
            if pin is not None and sha256(state) != pin:
                raise DamagedError(state, "it isn't what was saved (its sha256 differs)")
        return check_files(folder, step)


def check_files(folder: Path, step: int) -> dict[str, str]:
    """Check a checkpoint's files against its own state.json; see `check_checkpoint`."""
    path = folder / folder_name(step)
    state = read_json(path / "state.json")
    hashes, aliases = (_texts(path / "state.json", state.get(n)) for n in ("sha256", "aliases"))
    if state.get("step") != step:
        raise DamagedError(path / "state.json", f"it is of step {short(state.get('step'))}")
    sizes = state.get("bytes")
    for part in PARTS:
        if isinstance(sizes, dict):  # a look at the size costs nothing
            _check_size(path / part, sizes.get(part))
        if sha256(path / part) != hashes.get(part):
            raise DamagedError(path / part, "it isn't what was saved (its sha256 differs)")
    return aliases


def _check_size(path: Path, size: object) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise DamagedError(path, f"it can't be read ({error.strerror or error})") from error
    if found != size:
        raise DamagedError(path, f"it has {found:,} bytes instead of {short(size)}")


@contextmanager
def _while_there(folder: Path, step: int) -> Iterator[None]:
    """Distinguish a checkpoint that was removed meanwhile from a damaged one."""
    try:
        yield
    except DamagedError as error:
        record, path = folder.parent / "checkpoints.jsonl", folder / folder_name(step)
        if path.exists() or not record.is_file():
            raise
        if step in Logs(folder.parent, id_of(record)).kept():
            raise
        raise LetGoError(path, "it was let go while it was being read") from error


def _texts(path: Path, table: object) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise DamagedError(path, "it lacks checksums or aliases")
    return table


def load_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Return a checkpoint's weights by name, tied ones under each of their names.

    Raises:
        WhenceError: where a file is missing or damaged.
    """
    path = folder / folder_name(step)
    with _while_there(folder, step):
        aliases = check_checkpoint(folder, step)
        saved = _load(path / PARTS[0])
    tensors = dict(saved)
    for name, original in aliases.items():
        if original not in saved or name in saved:
            raise DamagedError(path / "state.json", f"no weight {original} for {name}")
        tensors[name] = saved[original]
    return tensors


def load_model(folder: Path, step: int, model: nn.Module) -> None:
    """Put a checkpoint's weights into a model of the same shape.

    Raises:
        WhenceError: where a file is missing or damaged, or the shapes differ.
    """
    put_weights(load_weights(folder, step), model, folder / folder_name(step))


def put_weights(tensors: dict[str, Tensor], model: nn.Module, where: Path) -> None:
    """Put weights into a model, each with the name, shape and type that the model has.

    Raises:
        WhenceError: naming the first that doesn't fit.
    """
    import torch

    from whence.models.ngram.model import NGram

    if isinstance(model, NGram):  # its sizes depend on the text
        model.load_state({name: tensor.numpy() for name, tensor in tensors.items()})
        return
    wanted = model.state_dict(keep_vars=True)
    for name in [*wanted, *tensors]:
        if name not in wanted or name not in tensors:
            which = "has no" if name not in tensors else "has"
            raise WhenceError(
                f"the weights in {where} do not fit the run's model: the file {which} {name}."
            )
        mine, theirs = wanted[name], tensors[name]
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            raise WhenceError(
                f"the weights in {where} do not fit the run's model: {name} is "
                f"{list(theirs.shape)} {theirs.dtype} instead of {list(mine.shape)} {mine.dtype}."
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            wanted[name].copy_(tensor)


def load_optimizer(folder: Path, step: int) -> dict[str, Tensor]:
    """Return a checkpoint's optimizer state.

    Raises:
        WhenceError: where the file is missing or damaged.
    """
    with _while_there(folder, step):
        return _load(folder / folder_name(step) / PARTS[1])


def _load(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise DamagedError(path, "it is missing") from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(path, f"it can't be read ({error})") from error


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that no later step changes; tied tensors stay tied."""
    copies: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.detach().to("cpu", copy=True)
    return {name: copies[id(tensor)] for name, tensor in tensors.items()}
