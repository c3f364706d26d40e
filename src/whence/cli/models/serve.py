"""`whence serve`: a run's model for programs that speak OpenAI's API."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from whence.errors import WhenceError
from whence.interop.tokenizers_out import chat_template
from whence.runs.run import Run
from whence.scale.weights import Weights


def serve(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    seats: int = 8,
    waiting: int = 64,
    context_length: int | None = None,
    memory: float | None = None,
    weights: Weights = "fp32",
) -> None:
    """Serve a model through OpenAI's API: chat, completions and embeddings.

    `OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")` is a client for it. The model's
    name is that of the run. Several clients are served at once.

    Args:
        run: the run's folder, such as runs/smollm-1.
        port: the port to listen on.
        host: 127.0.0.1 is reached from this machine only; others need an --api-key.
        api_key: what clients must send; without it, anybody on this machine may connect.
        seats: how many texts are written at once.
        waiting: how many more may wait; beyond that a client is told to try later.
        context_length: how many tokens a prompt and its answer may have together; without it as
            many as the model reads, 4,096 at most.
        memory: megabytes that the keys and values of all texts may take; where they are too few for
            all seats, fewer texts are written at once and more of them wait.
        weights: how the model's weights are stored; fewer bits are faster and less exact.
    """
    import uvicorn

    from whence.interop.server.app import Service

    if host not in ("127.0.0.1", "localhost", "::1") and not api_key:
        raise WhenceError(f"--host {host} lets other machines in: give an --api-key too.")
    if not 1 <= port <= 65535:
        raise WhenceError(f"--port is {port}: give 1 to 65535.")
    if api_key is not None and not (api_key.isascii() and api_key.strip() == api_key != ""):
        raise WhenceError("--api-key must be of ASCII characters, without spaces around it.")
    if memory is not None and not 0 < memory < 1e9:
        raise WhenceError(f"--memory is {memory:g} MB: give more than 0.")
    opened = Run.open(run)
    longest = getattr(opened.recipe.model, "context_length", 0)
    length = context_length or min(longest, 4096)
    bound = None if memory is None else int(memory * 1e6)
    service = Service(opened, seats, waiting, length, api_key, bound, weights)
    n_seats, each = service.engine.decoder.seats, service.seat_bytes / 1e6
    talks = "chat, completions" if chat_template(opened.tokenizer) else "completions"
    print(
        f"{opened.name}: {talks} and embeddings at http://{host}:{port}/v1 (Ctrl-C stops)\n"
        f"memory for {n_seats} texts at once, {each:,.1f} MB each for {length:,} tokens: "
        f"{n_seats * each:,.1f} MB; {waiting} more may wait",
        file=sys.stderr,
        flush=True,
    )
    uvicorn.run(service.app(), host=host, port=port, log_level="warning")
