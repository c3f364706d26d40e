"""The server: tokens per second of one client and of eight at once, of the same real model."""

import statistics
import threading
import time
from importlib.metadata import PackageNotFoundError
from typing import get_args

from benchmarks.timing import ratio, table
from whence.errors import WhenceError
from whence.generate.sampling import Sampling
from whence.interop.importing import find_model
from whence.interop.server.engine import Engine, Job
from whence.models import GPT
from whence.scale.weights import Weights, store

CLIENTS, READ, WRITTEN, ROUNDS = 8, 64, 64, 3


def seconds(engine: Engine, clients: int) -> float:
    """How long so many texts take, from the first prompt to the last token."""
    left = threading.Semaphore(0)

    def deliver(piece) -> None:
        if isinstance(piece, Exception):
            raise piece
        if piece.finished:
            left.release()

    size = engine.tokenizer.vocab_size
    jobs = [
        Job(
            [(7 * i + c) % size for i in range(READ)], deliver, WRITTEN, Sampling(0), bias={0: -100}
        )
        for c in range(clients)
    ]
    for job in jobs:
        job.bias.update(dict.fromkeys(engine.tokenizer.ends, -100.0))  # all write to the end
    started = time.perf_counter()
    engine.submit(*jobs)
    for _ in jobs:
        left.acquire()
    return time.perf_counter() - started


def row(weights: Weights) -> dict[str, str]:
    """One client and eight by turns, the median of some rounds."""
    found = find_model("smollm")
    model = GPT(found.config, found.tokenizer.vocab_size).eval()
    model.load_state_dict(found.weights())
    store(model, weights)
    engine = Engine(model, found.tokenizer, seats=CLIENTS, length=READ + WRITTEN + 1)
    seconds(engine, 1)
    took: dict[int, list[float]] = {1: [], CLIENTS: []}
    for _ in range(ROUNDS):
        for clients, times in took.items():
            times.append(seconds(engine, clients))
    engine.close()
    rates = {n: f"{n * WRITTEN / statistics.median(times):.0f}" for n, times in took.items()}
    gain = CLIENTS / ratio(took[CLIENTS], took[1])
    return {
        "weights": weights,
        "1 client, tokens/s": rates[1],
        f"{CLIENTS} clients, tokens/s in all": rates[CLIENTS],
        "ratio": f"{gain:.2f}",
    }


def main() -> None:
    """Print a row for each way of storing the weights."""
    try:
        find_model("smollm")
    except (WhenceError, PackageNotFoundError) as error:
        print(f"left out: {error}")
        return
    print(f"SmolLM2-135M, {READ} tokens read and {WRITTEN} written by each client")
    table([row(weights) for weights in get_args(Weights)])
