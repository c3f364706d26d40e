"""Checkpoints: model and optimiser as safetensors, so that nothing is ever unpickled."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models.ngram.model import NGram
from whence.runs.files import SCHEMA, DamagedError, read_json, sha256, write_folder_whole

PARTS = ("model.safetensors", "optimizer.safetensors")


def folder_name(step: int) -> str:
    """Return the folder's name of a step's checkpoint.

    Example:
        >>> folder_name(500)
        '000500'
    """
    return f"{step:06d}"


def save_checkpoint(
    folder: Path, step: int, model: dict[str, Tensor], optimizer: dict[str, Tensor]
) -> Path:
    """Save the state before the update of a step, whole or not at all.

    Args:
        folder: the run's folder of checkpoints.
        step: the next step's number; a checkpoint of that step must not be there yet.
        model: name → tensor; tied tensors (one object under two names) are saved once and the
            alias recorded.
        optimizer: name → tensor.

    Returns:
        The checkpoint's folder.

    Raises:
        WhenceError: where it can't be written; no part of it is left.
    """
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in model.items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        first.setdefault(id(tensor), name)

    def fill(path: Path) -> None:
        try:
            own = {name: t.contiguous() for name, t in model.items() if name not in aliases}
            save_file(own, path / PARTS[0])
            save_file({n: t.contiguous() for n, t in optimizer.items()}, path / PARTS[1])
        except SafetensorError as error:  # how it tells of a full disk
            raise OSError(str(error)) from error
        state = {
            "schema": SCHEMA,
            "step": step,
            "aliases": aliases,
            "sha256": {part: sha256(path / part) for part in PARTS},
        }
        (path / "state.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    path = folder / folder_name(step)
    write_folder_whole(path, fill)
    return path


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, in order."""
    if not folder.is_dir():
        return []
    names = [p.name for p in folder.iterdir() if re.fullmatch("[0-9]{6,15}", p.name)]
    return sorted(int(name) for name in names if folder_name(int(name)) == name)


def remove_checkpoint(folder: Path, step: int) -> None:
    """Remove a checkpoint so that a kill leaves no half of it under its name."""
    gone = folder / f".{folder_name(step)}.gone"
    (folder / folder_name(step)).rename(gone)
    shutil.rmtree(gone)


def check_checkpoint(folder: Path, step: int) -> dict[str, str]:
    """Check that a checkpoint's files are those that were written.

    Returns:
        Tied weights: name → the name under which it was saved.

    Raises:
        DamagedError: naming the file that isn't.
    """
    path = folder / folder_name(step)
    state = read_json(path / "state.json")
    hashes, aliases = (_texts(path / "state.json", state.get(n)) for n in ("sha256", "aliases"))
    if state.get("step") != step:
        raise DamagedError(path / "state.json", f"it is of step {state.get('step')!r}")
    for part in PARTS:
        if sha256(path / part) != hashes.get(part):
            raise DamagedError(path / part, "it isn't what was saved (its sha256 differs)")
    return aliases


def _texts(path: Path, table: object) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise DamagedError(path, "it lacks checksums or aliases")
    return table


def load_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Return a checkpoint's weights by name, tied ones under each of their names.

    Raises:
        WhenceError: where a file is missing or damaged.
    """
    aliases = check_checkpoint(folder, step)
    path = folder / folder_name(step)
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
    """Return a checkpoint's optimiser state.

    Raises:
        WhenceError: where the file is missing or damaged.
    """
    return _load(folder / folder_name(step) / PARTS[1])


def _load(path: Path) -> dict[str, Tensor]:
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
