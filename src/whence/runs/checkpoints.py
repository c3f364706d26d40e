"""Checkpoints: model and optimiser as safetensors, so that nothing is ever unpickled."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.runs.files import SCHEMA, read_json, write_folder_whole


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
    """Save the state before the update of a step.

    Args:
        folder: the run's folder of checkpoints.
        step: the next step's number.
        model: name → tensor; tied tensors are saved once and the alias recorded.
        optimizer: name → tensor.

    Returns:
        The checkpoint's folder.
    """
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in model.items():
        if (key := tensor.data_ptr()) in first and tensor.numel():
            aliases[name] = first[key]
        first.setdefault(key, name)

    def fill(path: Path) -> None:
        own = {name: t.contiguous() for name, t in model.items() if name not in aliases}
        save_file(own, path / "model.safetensors")
        save_file({n: t.contiguous() for n, t in optimizer.items()}, path / "optimizer.safetensors")
        state = {"schema": SCHEMA, "step": step, "aliases": aliases}
        (path / "state.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    path = folder / folder_name(step)
    write_folder_whole(path, fill)
    return path


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())


def load_model(folder: Path, step: int, model: nn.Module) -> None:
    """Put a checkpoint's weights into a model of the same shape.

    Raises:
        WhenceError: where a file is missing or damaged, or the shapes differ.
    """
    path = folder / folder_name(step)
    tensors = _load(path / "model.safetensors")
    for name, original in read_json(path / "state.json").get("aliases", {}).items():
        if original not in tensors:
            raise WhenceError(f"{path / 'state.json'} is damaged: no weight {original}.")
        tensors[name] = tensors[original]
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise WhenceError(f"the weights in {path} do not fit the run's model: {problem}") from error


def load_optimizer(folder: Path, step: int) -> dict[str, Tensor]:
    """Return a checkpoint's optimiser state.

    Raises:
        WhenceError: where the file is missing or damaged.
    """
    return _load(folder / folder_name(step) / "optimizer.safetensors")


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WhenceError(f"{path} is missing: the checkpoint is not whole.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WhenceError(f"{path} is damaged: {error}") from error


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors detached and on the CPU; tied ones stay tied."""
    moved: dict[int, Tensor] = {}
    for tensor in tensors.values():
        moved.setdefault(id(tensor), tensor.detach().to("cpu"))
    return {name: moved[id(tensor)] for name, tensor in tensors.items()}


def size_in_bytes(model: nn.Module) -> int:
    """Return about how much disk a checkpoint takes: weights and two moments of each."""
    return 3 * sum(p.numel() * p.element_size() for p in model.parameters() if torch.is_tensor(p))
