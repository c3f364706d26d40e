"""The server: tokens per second of one client and of eight at once, of the same real model."""

import threading
import time
from importlib.metadata import PackageNotFoundError

import torch

from whence.errors import WhenceError
from whence.generate.sampling import Sampling
from whence.interop.importing import find_model
from whence.interop.server.engine import Engine, Job
from whence.models import GPT

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


def main() -> None:
    """Print both figures and their ratio, the best of some rounds side by side."""
    try:
        found = find_model("smollm")
    except (WhenceError, PackageNotFoundError) as error:
        print(f"left out: {error}")
        return
    model = GPT(found.config, found.tokenizer.vocab_size).eval()
    model.load_state_dict(found.weights())
    engine = Engine(model, found.tokenizer, seats=CLIENTS, length=READ + WRITTEN + 1)
    seconds(engine, 1)
    best = {1: float("inf"), CLIENTS: float("inf")}
    for _ in range(ROUNDS):
        for clients in best:
            best[clients] = min(best[clients], seconds(engine, clients))
    engine.close()
    rates = {clients: clients * WRITTEN / took for clients, took in best.items()}
    print(
        f"SmolLM2-135M, fp32, {READ} tokens read and {WRITTEN} written, "
        f"{torch.get_num_threads()} threads"
    )
    for clients, rate in rates.items():
        print(f"  {clients} at once: {rate:.1f} tokens/s in all")
    print(f"  ratio {rates[CLIENTS] / rates[1]:.2f}")
