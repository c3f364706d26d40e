"""`whence export`: a run's model for other programs."""

from pathlib import Path
from typing import Annotated

import tyro

from whence.cli.models.evaluate import which
from whence.interop.forms import Dtype, Form
from whence.runs.run import Run

# What reads each form.
READERS: dict[Form, str] = {
    "hf": "transformers.AutoModelForCausalLM.from_pretrained({path!r})",
    "gguf": "llama-cli -m {path}",
    "safetensors": "safetensors.torch.load_file({path!r})",
    "onnx": "onnxruntime.InferenceSession({path!r})",
}


def export(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    to: Form,
    out: Path | None = None,
    dtype: Dtype = "auto",
    checkpoint: str = "best",
) -> None:
    """Write a run's model so that other programs can load it.

    A GPT is exported in the published layout that it is a case of: gpt2, llama, qwen2, qwen3, or
    arcee for the form `modern`. `whence train --exportable` keeps a new model to these.

    Args:
        run: the run's folder, such as runs/topics-1.
        to: `hf` (a folder of the transformers library, with tokenizer and chat template), `gguf`
            (a file of llama.cpp), `safetensors` (the weights by their names here), or `onnx`.
        out: where; without it under `exports/`, by the run's name.
        dtype: fp32, fp16, bf16, and in GGUF q8_0 and q4_0; auto: fp32, in GGUF fp16.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
    """
    from whence.interop.exporting import export_model

    opened = Run.open(run)
    path = export_model(opened, to, out, dtype=dtype, at=which(opened, checkpoint))
    print(f"{path}: load it with {READERS[to].format(path=str(path))}")
