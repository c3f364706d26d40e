"""The data path: how fast text becomes tokens, in how much memory, and what a batch costs.

Run with `python -m benchmarks data`. Each preparation runs in a process of its own on a generated
file, so that its peak memory can be read; the batch figures are medians.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from whence.data import WindowBatches, open_source, prepare

MEGABYTE = 1 << 20
SIZES = {"chars": 256, "bytes": 256, "words": 64, "bpe": 64}  # megabytes of text


def generated(path: Path, megabytes: int) -> None:
    """Write real prose in a shuffled order of its lines, with numbers so that no line repeats."""
    lines = "".join(open_source("topics").chunks()).splitlines()
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        while file.tell() < megabytes * MEGABYTE:
            order = random.permutation(len(lines))
            file.write("".join(f"{lines[i]} {random.integers(1000)}\n" for i in order).encode())


def peak() -> float:
    """The most memory this process has ever held, in megabytes (Linux; elsewhere not a number)."""
    try:
        fields = Path("/proc/self/status").read_text(encoding="utf-8").split()
    except OSError:
        return float("nan")
    return int(fields[fields.index("VmHWM:") + 1]) / 1024


def preparation(path: str, kind: str) -> dict:
    """Prepare one file in this process and measure it."""
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        source = open_source(path)
        opened = time.perf_counter()
        dataset = prepare(
            source, kind, 8192 if kind in ("words", "bpe") else None, 0.1, Path(folder)
        )
        trained_and_written = time.perf_counter()
        memory = peak() - before
        sample = list(islice(source.chunks(), 128))
        encoding = time.perf_counter()
        for piece in sample:
            dataset.tokenizer.encode(piece)
        done = time.perf_counter()
        megabytes = source.n_bytes / MEGABYTE
        return {
            "tokenizer": kind,
            "text MB": round(megabytes),
            "tokens, million": round((len(dataset.train) + len(dataset.validation)) / 1e6, 1),
            "check and hash MB/s": round(megabytes / (opened - start)),
            "encode MB/s": round(len("".join(sample).encode()) / MEGABYTE / (done - encoding), 1),
            "all MB/s": round(megabytes / (trained_and_written - start), 1),
            "memory added, MB": round(memory),
        }


def preparations() -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        for kind, megabytes in SIZES.items():
            path = Path(folder) / f"{megabytes}.txt"
            if not path.exists():
                generated(path, megabytes)
            command = [sys.executable, "-m", "benchmarks.data", str(path), kind]
            yield json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def batches() -> Iterator[dict]:
    tokens = np.random.default_rng(0).integers(0, 65, 1_003_854, dtype=np.uint8)
    for batch_size, context_length in [(12, 64), (24, 64), (16, 256), (64, 1024)]:
        made = WindowBatches(tokens, context_length=context_length, batch_size=batch_size, seed=0)
        times = []
        for step in range(500):
            start = time.perf_counter()
            made[step]
            times.append(time.perf_counter() - start)
        yield {
            "batch": f"{batch_size} x {context_length}",
            "median ms": round(1e3 * statistics.median(times), 3),
            "95 % ms": round(1e3 * statistics.quantiles(times, n=20)[-1], 3),
        }


def main() -> None:
    """Measure everything and print it."""
    for row in chain(batches(), preparations()):
        print("  ".join(f"{name}: {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(preparation(sys.argv[1], sys.argv[2])))
    else:
        main()
