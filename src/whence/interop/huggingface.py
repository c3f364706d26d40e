"""Folders as the transformers library reads and writes them: nothing is ever unpickled."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.interop.found import Found
from whence.interop.layouts import layout_of, read_config
from whence.interop.names import place_in_hugging_face, take_weights
from whence.interop.reading import Fields, read_json
from whence.models import GPTConfig
from whence.runs.training.session import outline

READABLE_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Buffers that older versions of transformers saved though they follow from the config.
_BUFFERS = re.compile(r"\.(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias)$")


def open_folder(folder: Path) -> Found:
    """Find a model in a folder: config.json, safetensors (one file or shards), tokenizer.json.

    Args:
        folder: as `save_pretrained` of the transformers library writes it.

    Raises:
        WhenceError: where a file is missing or damaged, or the layout can't be read.

    Example:
        >>> open_folder(Path("models/SmolLM2-135M")).config.n_layers  # doctest: +SKIP
        30
    """
    if not (folder / "config.json").is_file():
        raise WhenceError(
            f"{folder} holds no config.json: give the folder of a Hugging Face model, or a file "
            "that ends in .gguf."
        )
    fields = Fields(read_json(folder / "config.json"), str(folder / "config.json"))
    config = read_config(fields)
    files = _weight_files(folder)
    shapes = _shapes(folder, files)
    check_layers(config, len(shapes), str(folder))
    table = [name for name in shapes if name.endswith(("embed_tokens.weight", "wte.weight"))]
    if len(table) != 1 or len(shapes[table[0]]) != 2:
        raise WhenceError(f"{folder} has no table of embeddings where its config wants one.")
    vocab_size = shapes[table[0]][0]
    tokenizer = read_tokenizer(folder, vocab_size)
    return Found(folder, config, tokenizer, partial(_weights, folder, files, config, vocab_size))


def check_layers(config: GPTConfig, n_tensors: int, where: str) -> None:
    """Refuse a number of layers that the weights can't have, before anything is built.

    Raises:
        WhenceError: saying so.

    Example:
        >>> check_layers(GPTConfig(n_layers=2), 20, "model.gguf")
    """
    if config.n_layers > n_tensors:
        raise WhenceError(
            f"{where} has {n_tensors} tensors, too few for the {config.n_layers:,} layers that its "
            "config tells of."
        )


def _weight_files(folder: Path) -> dict[str, Path]:
    """Tensor → file, for a single file or as the index of the shards says."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        table = read_json(index).get("weight_map")
        if not isinstance(table, dict):
            raise WhenceError(f"{index} has no weight_map: fetch it again.")
        for name in table.values():
            if not isinstance(name, str) or Path(name).name != name:
                raise WhenceError(f"{index} names {name!r}, which isn't a file beside it.")
        return {tensor: folder / name for tensor, name in table.items()}
    single = folder / "model.safetensors"
    if single.is_file():
        return dict.fromkeys(_names(single), single)
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth"))
    if pickles:
        raise WhenceError(
            f"{folder} has its weights in {pickles[0]}, a pickle, which can run any code when it "
            "is opened: convert it with transformers where you trust it "
            "(AutoModelForCausalLM.from_pretrained(...).save_pretrained(NEW_FOLDER))."
        )
    raise WhenceError(f"{folder} holds no model.safetensors: fetch the weights too.")


def _names(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise WhenceError(f"{path} is missing: fetch it too.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WhenceError(f"{path} is damaged ({error}): fetch it again.") from error


def _shapes(folder: Path, files: dict[str, Path]) -> dict[str, list[int]]:
    """Tensor → shape, read from the headers alone; with the names of a whole model."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(set(files.values())):
        with _opened(path) as file:
            there = set(file.keys())
            for name in (n for n, p in files.items() if p == path):
                if name not in there:
                    raise WhenceError(f"{path} lacks {name}, which the index of {folder} names.")
                shapes[name] = file.get_slice(name).get_shape()
    return shapes


def _weights(
    folder: Path, files: dict[str, Path], config: GPTConfig, vocab_size: int
) -> dict[str, Tensor]:
    layout = layout_of(config)
    # A model saved without its head has names without the first word.
    bare = not any(name.startswith(("model.", "transformer.")) for name in files)
    first = ("transformer." if layout == "gpt2" else "model.") if bare else ""
    theirs = {
        (name if name.startswith("lm_head.") else first + name): name
        for name in files
        if not _BUFFERS.search(name)
    }
    with ExitStack() as stack:
        opened = {p: stack.enter_context(_opened(p)) for p in set(files.values())}

        def load(name: str) -> Tensor:
            path = files[theirs[name]]
            return in_float32(_read(opened[path], theirs[name], path), name, path)

        place: Callable[[str], Any] = partial(place_in_hugging_face, layout=layout)
        return take_weights(outline(config, vocab_size), place, theirs, load, str(folder))


def _read(file: Any, name: str, path: Path) -> Tensor:
    try:
        return file.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise WhenceError(f"{path} is damaged at {name} ({error}): fetch it again.") from error


def in_float32(x: Tensor, name: str, path: Path) -> Tensor:
    """Return a tensor of numbers in float32.

    Raises:
        WhenceError: where it isn't of floating-point numbers that are known.

    Example:
        >>> in_float32(torch.ones(1, dtype=torch.float16), "x", Path("a")).dtype
        torch.float32
    """
    if x.dtype not in READABLE_DTYPES:
        raise WhenceError(
            f"{path} has {name} in {x.dtype}: float32, float16 and bfloat16 can be read."
        )
    return x.float()


def read_tokenizer(folder: Path, vocab_size: int) -> ImportedTokenizer:
    """Read tokenizer.json and what stands beside it: template, special tokens, advised settings.

    Raises:
        WhenceError: where there is none, or it has more tokens than the model.

    Example:
        >>> read_tokenizer(Path("models/SmolLM2-135M"), 49152).vocab_size  # doctest: +SKIP
        49152
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise WhenceError(
            f"{folder} has no tokenizer.json: make one with transformers "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER))."
        )
    told = _optional(folder / "tokenizer_config.json")
    advised = _optional(folder / "generation_config.json")
    special = {
        name: value if isinstance(value, str) else value.get("content")
        for name, value in told.items()
        if name in ("bos_token", "eos_token", "unk_token", "pad_token")
        and isinstance(value, str | dict)
    }
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.is_file() else _template(told)
    ends = advised.get("eos_token_id", _optional(folder / "config.json").get("eos_token_id"))
    record: dict[str, Any] = {
        "tokenizer": read_json(path),
        "vocab_size": vocab_size,
        "ends": [i for i in (ends if isinstance(ends, list) else [ends]) if type(i) is int],
        "chat_template": text,
        "special_tokens": special,
        "generation": {
            name: advised[name]
            for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
            if isinstance(advised.get(name), int | float)
        },
    }
    record["ends"] = [i for i in record["ends"] if 0 <= i < vocab_size]
    try:
        return ImportedTokenizer(record)
    except WhenceError as error:
        raise WhenceError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise WhenceError(f"{path} is damaged (it lacks or mistakes {error}).") from error


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _template(told: dict[str, Any]) -> str | None:
    """The template out of tokenizer_config.json: one text, or the one named default."""
    template = told.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
