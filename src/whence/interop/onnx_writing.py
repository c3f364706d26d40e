"""A model as ONNX: token ids in, logits out, for any number of texts of any length."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from whence.errors import WhenceError
from whence.models import GPT

LARGEST = 2_000_000_000  # bytes: what the format's numbers can count


def write_onnx(model: Any, path: Path) -> None:
    """Write a GPT as an ONNX file with inputs `tokens` [B, T] and outputs `logits` [B, T, V].

    Args:
        model: the model.
        path: the file.

    Raises:
        WhenceError: where it isn't a GPT, has more than 2 GB, or the packages that write ONNX are
            missing.

    Example:
        >>> write_onnx(GPT(GPTConfig(n_layers=1), 65), Path("model.onnx"))  # doctest: +SKIP
    """
    if not isinstance(model, GPT):
        raise WhenceError("--to onnx writes GPTs: export this model with --to safetensors.")
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise WhenceError(f"{package} is not installed: run 'pip install whence[onnx]'.")
    if sum(4 * p.numel() for p in model.parameters()) > LARGEST:
        raise WhenceError("an ONNX file holds at most 2 GB, and the model has more: use --to hf.")
    # The textbook's formula has the operations that every reader of ONNX knows.
    plain = GPT(replace(model.config, attention="formula"), model.vocab_size).eval()
    plain.load_state_dict(model.state_dict())
    tokens = torch.zeros(2, min(7, model.context_length), dtype=torch.long)
    shapes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.context_length)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                plain, (tokens,), dynamo=True, dynamic_shapes=(shapes,),
                input_names=["tokens"], output_names=["logits"], verbose=False,
            )  # fmt: skip
            assert program is not None
            program.save(str(temporary), external_data=False)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's messages about missing libraries."""
    told = logging.getLogger("torch.onnx")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(before)
