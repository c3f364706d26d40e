"""From a run to files that other programs load."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save, save_file
from torch import Tensor

from whence.data import Tokenizer
from whence.data.files import written_whole
from whence.errors import WhenceError
from whence.interop.forms import Dtype, Form
from whence.interop.gguf.writing import write_gguf
from whence.interop.layouts import layout_of, write_config
from whence.interop.names import give_weights, place_in_hugging_face
from whence.interop.onnx_writing import write_onnx
from whence.interop.tokenizers_out import advised, chat_template, special_tokens, tokenizer_file
from whence.interop.whole import whole
from whence.models import GPT
from whence.runs.run import Run
from whence.runs.store.checkpoints import copied
from whence.runs.store.files import write_folder_whole

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ENDINGS: dict[Form, str] = {"hf": "-hf", "gguf": ".gguf", "safetensors": ".safetensors",
                            "onnx": ".onnx"}  # fmt: skip


def export_model(
    run: Run,
    to: Form,
    path: Path | str | None = None,
    *,
    dtype: Dtype = "auto",
    at: int | Literal["best", "last"] = "best",
) -> Path:
    """Write a run's model so that other programs load it.

    Args:
        run: the run.
        to: `hf`, a folder of the transformers library; `gguf`, a file of llama.cpp; `safetensors`,
            the weights under the names they have here; `onnx`, tokens in and logits out.
        path: where; none: `exports/` and the run's name.
        dtype: how the numbers are kept; auto: fp32, and fp16 in GGUF. The quantised kinds are
            GGUF's.
        at: which checkpoint; see `Run.model`.

    Returns:
        The folder or file.

    Raises:
        WhenceError: where the path is taken, or the model has no form that the reader knows.

    Example:
        >>> export_model(Run.open("runs/mine"), "hf")  # doctest: +SKIP
        PosixPath('exports/mine-hf')
    """
    path = Path(path) if path is not None else Path("exports") / f"{run.name}{ENDINGS[to]}"
    if path.exists():
        raise WhenceError(f"{path} already exists: choose another with --out, or remove it.")
    model, tokenizer = run.model(at), run.tokenizer
    if to == "safetensors":
        _write_weights(model, path, _torch_dtype(dtype, to), run)
    elif to == "onnx":
        if dtype not in ("auto", "fp32"):
            raise WhenceError(f"--to onnx writes fp32, and --dtype is {dtype}: leave it out.")
        write_onnx(model, path)
    else:
        layout_of(run.recipe.model)
        assert isinstance(model, GPT)
        if to == "hf":
            write_hugging_face(model, tokenizer, path, _torch_dtype(dtype, to))
        else:
            write_gguf(model, tokenizer, path, "fp16" if dtype == "auto" else dtype)
    return path


def _torch_dtype(dtype: Dtype, to: Form) -> torch.dtype:
    name = "fp32" if dtype == "auto" else dtype
    if name not in DTYPES:
        raise WhenceError(f"--dtype is {dtype}: --to {to} writes {', '.join(DTYPES)}.")
    return DTYPES[name]


def write_hugging_face(
    model: GPT, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a folder that `AutoModelForCausalLM.from_pretrained` loads, whole or not at all.

    Args:
        model: a GPT of a published layout.
        tokenizer: its tokenizer.
        folder: not there yet.
        dtype: of the weights.

    Raises:
        WhenceError: as `layout_of`, or where the folder can't be written.

    Example:
        >>> from whence.data.tokenizers.chars import CharTokenizer
        >>> from whence.models import GPTConfig
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "model"
        >>> write_hugging_face(GPT(GPTConfig(n_layers=1), 2), CharTokenizer("ab"), folder)
        >>> (folder / "model.safetensors").exists()
        True
    """
    layout, size = layout_of(model.config), model.vocab_size
    config, weights = whole(model.config, copied(model.state_dict(keep_vars=True)), size)
    place: Callable[[str], Any] = partial(place_in_hugging_face, layout=layout)
    given = {name: x.to(dtype) for name, x in give_weights(weights, place).items()}
    special = special_tokens(tokenizer)
    ids: dict[str, Any] = {
        f"{n}_id": _id_of(tokenizer, text) for n, text in special.items() if n != "unk_token"
    }
    ids["eos_token_id"] = list(tokenizer.ends) or None
    tree = {**write_config(config, size), **ids, "dtype": str(dtype).removeprefix("torch.")}
    tokens = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
        **special,
    }
    files: dict[str, Any] = {
        "config.json": tree,
        "generation_config.json": _generation(tokenizer, ids),
        "tokenizer.json": tokenizer_file(tokenizer),
        "tokenizer_config.json": tokens,
    }

    def fill(path: Path) -> None:
        for name, value in files.items():
            text = json.dumps(value, ensure_ascii=False, indent=1)
            (path / name).write_text(text + "\n", encoding="utf-8")
        template = chat_template(tokenizer)
        if template:
            (path / "chat_template.jinja").write_text(template, encoding="utf-8")
        save_file(given, path / "model.safetensors", metadata={"format": "pt"})

    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder_whole(folder, fill)


def _generation(tokenizer: Tokenizer, ids: dict[str, Any]) -> dict[str, Any]:
    settings = advised(tokenizer)
    draws = {"do_sample": True} if settings else {}
    return {"_from_model_config": False, **draws, **settings, **ids}


def _id_of(tokenizer: Tokenizer, text: str) -> int | None:
    try:
        return tokenizer.id(text)
    except WhenceError:
        return None


def _write_weights(model: Any, path: Path, dtype: torch.dtype, run: Run) -> None:
    """The weights alone, under our names; tied ones once."""
    if not isinstance(model, torch.nn.Module):
        raise WhenceError("a counted model has no weights, and 'whence export' writes weights.")
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, weight in model.state_dict(keep_vars=True).items():
        if id(weight) not in seen:
            own[name] = weight.detach().to(dtype).contiguous()
        seen.add(id(weight))
    recipe = json.dumps(run.recipe.to_dict()["model"])
    with written_whole(path) as file:
        file.write(save(own, {"format": "pt", "model": recipe}))
