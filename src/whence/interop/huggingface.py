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
from whence.interop.imported_tokens import advice, made_tokenizer
from whence.interop.layouts import layout_of, read_config
from whence.interop.names import place_in_hugging_face, take_weights
from whence.interop.reading import Fields, read_json, read_text, short, told_of
from whence.models import GPTConfig
from whence.runs.training.session import outline

READABLE_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LEAST_PER_LAYER = 8  # two norms, queries, keys, values, output, up and down
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
            f"{folder} has no config.json: give the folder of a Hugging Face model, or a file that "
            "ends in .gguf."
        )
    with told_of(folder):
        return _open(folder)


def _open(folder: Path) -> Found:
    fields = Fields(read_json(folder / "config.json"), str(folder / "config.json"))
    with told_of(fields.where):
        config = read_config(fields)
    files = _weight_files(folder)
    shapes = _shapes(folder, files)
    check_layers(config, len(shapes), str(folder))
    table = [name for name in shapes if name.endswith(("embed_tokens.weight", "wte.weight"))]
    if len(table) != 1 or len(shapes[table[0]]) != 2:
        raise WhenceError(f"{folder} has no embedding table, although its config expects one.")
    vocab_size = shapes[table[0]][0]
    check_rows(fields, "vocab_size", vocab_size)
    tokenizer = read_tokenizer(folder, vocab_size)
    return Found(folder, config, tokenizer, partial(_weights, folder, files, config, vocab_size))


def check_layers(config: GPTConfig, n_tensors: int, where: str) -> None:
    """Refuse a number of layers that the weights can't have, before anything is built.

    Raises:
        WhenceError: saying so.

    Example:
        >>> check_layers(GPTConfig(n_layers=2), 20, "model.gguf")
    """
    if config.n_layers * LEAST_PER_LAYER > n_tensors:
        raise WhenceError(
            f"{where} has {n_tensors} tensors, too few for the {config.n_layers:,} layers in its "
            "config."
        )


def check_rows(fields: Fields, name: str, rows: int) -> None:
    """Refuse a number of tokens that the embedding table doesn't have.

    Raises:
        WhenceError: saying so.
    """
    if fields.given(name) is not None and fields.count(name) != rows:
        raise WhenceError(
            f"{fields.where} gives {name} as {fields.count(name):,}, but the embedding table has "
            f"{rows:,} rows."
        )


def _weight_files(folder: Path) -> dict[str, Path]:
    """Tensor → file, for a single file or as the index of the shards says."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        table = read_json(index).get("weight_map")
        if not isinstance(table, dict):
            raise WhenceError(f"{index} has no weight_map: download it again.")
        for name in table.values():
            if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
                raise WhenceError(
                    f"{index} names {short(name)}, which isn't a file in the same folder."
                )
            if not name.endswith(".safetensors"):
                raise WhenceError(f"{index} names {short(name)}, which isn't a safetensors file.")
        return {tensor: folder / name for tensor, name in table.items()}
    single = folder / "model.safetensors"
    if single.is_file():
        return dict.fromkeys(_names(single), single)
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth"))
    if pickles:
        raise WhenceError(
            f"{folder} has its weights in {pickles[0]}, a pickle, which can run any code when it "
            "is opened: if you trust it, convert it with transformers "
            "(AutoModelForCausalLM.from_pretrained(...).save_pretrained(NEW_FOLDER))."
        )
    raise WhenceError(f"{folder} has no model.safetensors: download the weights too.")


def _names(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise WhenceError(f"{path} is missing: download it too.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WhenceError(f"{path} is damaged ({error}): download it again.") from error
    except MemoryError as error:  # the whole file is mapped
        size = path.stat().st_size
        raise WhenceError(
            f"{path} has {size:,} bytes, more than this process may take: if it should be smaller, "
            "download it again."
        ) from error


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
        with told_of(folder):
            return take_weights(outline(config, vocab_size), place, theirs, load, str(folder))


def _read(file: Any, name: str, path: Path) -> Tensor:
    try:
        return file.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise WhenceError(f"{path} is damaged at {name} ({error}): download it again.") from error


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
            f"{path} has {name} in {x.dtype}: only float32, float16 and bfloat16 can be read."
        )
    return x.float()


def read_tokenizer(folder: Path, vocab_size: int) -> ImportedTokenizer:
    """Read tokenizer.json and the files beside it: template, special tokens, advised settings.

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
    told_advice = _optional(folder / "generation_config.json")
    named = {n: told.get(n) for n in ("bos_token", "eos_token", "unk_token", "pad_token")}
    texts = {n: v.get("content") if isinstance(v, dict) else v for n, v in named.items()}
    special = {n: text for n, text in texts.items() if isinstance(text, str)}
    template = folder / "chat_template.jinja"
    text = read_text(template) if template.is_file() else _template(told)
    ends = told_advice.get("eos_token_id", _optional(folder / "config.json").get("eos_token_id"))
    record: dict[str, Any] = {
        "tokenizer": read_json(path),
        "vocab_size": vocab_size,
        "ends": [i for i in (ends if isinstance(ends, list) else [ends]) if type(i) is int],
        "chat_template": text,
        "special_tokens": special,
        "generation": advice(told_advice),
    }
    record["ends"] = [i for i in record["ends"] if 0 <= i < vocab_size]
    return made_tokenizer(record, path)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _template(told: dict[str, Any]) -> str | None:
    """The template out of tokenizer_config.json: one text, or the one named default."""
    template = told.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
