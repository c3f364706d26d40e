"""Counting n-grams: how fast, how well it predicts, and in how much memory.

Run with `python -m benchmarks counting`; `--large` adds 100 MB of characters and 20 million words
at order 5 under a memory limit (some two minutes). Contestants take turns in one process. The
compiled loops are warm, and what compiling them costs is a row of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from nltk.lm import MLE
from nltk.util import everygrams

from benchmarks.timing import interleaved, ratio, table
from whence.data import open_source
from whence.data.made.stories import stories
from whence.models.ngram.counts.counting import count_bigrams, count_ngrams
from whence.models.ngram.model import NGram, NGramConfig
from whence.models.ngram.sparsity import sparsity

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
MEMORY_MB = 256


def text() -> tuple[str, bytes]:
    """Tinyshakespeare where it is at hand, else the built-in text."""
    path = SHARED / "tinyshakespeare.txt"
    if path.exists():
        return "tinyshakespeare", path.read_bytes()
    return "topics", "".join(open_source("topics").chunks()).encode()


def characters(raw: bytes) -> tuple[np.ndarray, int]:
    letters, tokens = np.unique(np.frombuffer(raw, np.uint8), return_inverse=True)
    return tokens.astype(np.uint8), len(letters)


def words(raw: bytes) -> tuple[np.ndarray, int]:
    pieces = raw.decode().split()
    ids = {word: i for i, word in enumerate(dict.fromkeys(pieces))}
    return np.array([ids[word] for word in pieces], np.uint32), len(ids)


def nltk_counts(tokens: np.ndarray, order: int) -> Callable[[], object]:
    """nltk.lm's fit; it has no faster way in than every n-gram as a tuple of strings."""
    strings = [str(token) for token in tokens]

    def fit() -> None:
        model = MLE(order)
        model.fit([everygrams(strings, max_len=order)], strings)

    return fit


def bigrams(tokens: np.ndarray, vocab_size: int, kind: str) -> Iterator[dict]:
    """Counting pairs; nltk gets a slice, for it would take a minute."""
    wide, few = tokens.astype(np.int64), tokens[:20_000]
    listed = tokens.tolist()
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "whence": (lambda: count_bigrams(tokens, vocab_size), len(tokens)),
        "np.bincount": (
            lambda: np.bincount(wide[:-1] * vocab_size + wide[1:], minlength=vocab_size**2),
            len(tokens),
        ),
    }
    if kind == "words":
        contestants = {
            "whence": (lambda: count_ngrams(tokens, 2, vocab_size), len(tokens)),
            "np.unique": (
                lambda: np.unique(wide[:-1] * vocab_size + wide[1:], return_counts=True),
                len(tokens),
            ),
        }
    contestants["Counter(pairwise)"] = (
        lambda: Counter(pairwise(listed)),
        len(tokens),
    )
    contestants["nltk.lm"] = (nltk_counts(few, 2), len(few))
    yield from _raced(f"bigrams of {kind}", contestants)


def fits(tokens: np.ndarray, vocab_size: int) -> Iterator[dict]:
    """All n-grams up to order 5, against nltk's; and with probabilities by Kneser–Ney."""
    few = tokens[:20_000]
    config = NGramConfig(order=5)
    yield from _raced(
        "order 5 of characters",
        {
            "whence, counts": (lambda: count_ngrams(tokens, 5, vocab_size), len(tokens)),
            "whence, Kneser–Ney": (lambda: NGram(config, vocab_size).fit(tokens), len(tokens)),
            "nltk.lm, counts": (nltk_counts(few, 5), len(few)),
        },
    )


def _raced(name: str, contestants: dict[str, tuple[Callable[[], object], int]]) -> list[dict]:
    seconds = interleaved({who: call for who, (call, _) in contestants.items()}, 7, warmup=1)
    each = {who: [s / contestants[who][1] for s in times] for who, times in seconds.items()}
    ours = next(iter(each))
    return [
        {
            "task": name,
            "by": who,
            "million tokens/s": f"{1e-6 / median(times):.4g}",
            "whence is faster by": f"{ratio(times, each[ours]):.3g} ×",
            "whole text, ms": f"{1e3 * median(times) * contestants[ours][1]:.4g}",
        }
        for who, times in each.items()
    ]


def quality(tokens: np.ndarray, vocab_size: int) -> Iterator[dict]:
    """Nats per character on the last tenth: in windows of 64, and with all of the text before."""
    cut = len(tokens) * 9 // 10
    train, held_out = tokens[:cut], tokens[cut:]
    n = (len(held_out) - 1) // 64 * 64
    inputs = torch.tensor(held_out[:n].astype(np.int64)).view(-1, 64)
    targets = torch.tensor(held_out[1 : n + 1].astype(np.int64)).flatten()
    some = train[: min(100_000, len(train))]
    for smoothing, order in [
        ("add-k", 1),
        ("add-k", 2),
        ("add-k", 3),
        *(("kneser-ney", k) for k in (2, 3, 4, 5, 6, 7)),
    ]:
        model = NGram(NGramConfig(order, smoothing), vocab_size)
        fit = _median_seconds(lambda model=model: model.fit(train))
        score = _median_seconds(lambda model=model: model.score(held_out))
        rows = _median_seconds(lambda model=model: model.all_log_probs(held_out))
        logits = model(inputs).view(-1, vocab_size)
        row = {
            "smoothing": smoothing,
            "order": order,
            "n-grams": model.n_parameters,
            "fit ms": f"{1e3 * fit:.1f}",
            "windows of 64": f"{torch.nn.functional.cross_entropy(logits, targets).item():.4f}",
            "whole text": f"{model.cross_entropy(held_out):.4f}",
            "training text": f"{model.cross_entropy(some):.4f}",
            "one left out": "",
            "score ms": f"{1e3 * score:.1f}",
            "all_log_probs ms": f"{1e3 * rows:.1f}",
        }
        if smoothing == "kneser-ney":
            left_out = model.all_log_probs(some, leave_one_out=True)
            row["one left out"] = f"{-left_out[np.arange(len(some)), some].mean():.4f}"
        yield row


def _median_seconds(call: Callable[[], object]) -> float:
    return median(interleaved({"it": call}, rounds=3, warmup=1)["it"])


def names() -> Iterator[dict]:
    """The bigram of names: shuffled, 80/10/10, a newline at both ends of each."""
    path = SHARED / "names.txt"
    if not path.exists():
        return
    listed = path.read_text(encoding="utf-8").split()
    order = np.random.default_rng(0).permutation(len(listed))
    parts = np.split(order, [len(listed) * 8 // 10, len(listed) * 9 // 10])
    raw = ["\n" + "\n".join(listed[i] for i in part) + "\n" for part in parts]
    train, _, test = (
        np.array([0 if c == "\n" else ord(c) - 96 for c in part], np.uint8) for part in raw
    )
    for smoothing, n in [("add-k", 1), ("add-k", 2), ("add-k", 3), ("kneser-ney", 2)] + [
        ("kneser-ney", n) for n in (3, 4, 5, 6)
    ]:
        model = NGram(NGramConfig(n, smoothing), 27).fit(train)
        yield {"smoothing": smoothing, "order": n, "nats": f"{model.cross_entropy(test):.4f}"}


def distances() -> Iterator[dict]:
    """How far from the best possible model: 900 kB of stories to learn, 100 kB to predict."""
    grammar = stories()
    whole = grammar.text(1_000_000, seed=0)
    tokens, vocab_size = characters(whole.encode())
    cut = 900_000
    best = grammar.log2_probability(whole[:cut]) - grammar.log2_probability(whole)
    best /= len(whole) - cut
    yield {"model": "the grammar itself", "bits/byte": f"{best:.4f}", "above the best": ""}
    yield {
        "model": "its entropy rate",
        "bits/byte": f"{grammar.entropy_rate():.4f}",
        "above the best": "",
    }
    for order in (1, 2, 3, 5, 7, 10, 15, 20):
        model = NGram(NGramConfig(order), vocab_size).fit(tokens[:cut])
        bits = model.cross_entropy(tokens[cut:]) / np.log(2)
        yield {
            "model": f"Kneser–Ney, order {order}",
            "bits/byte": f"{bits:.4f}",
            "above the best": f"{bits - best:.4f}",
        }


def sparseness(tokens: np.ndarray, vocab_size: int) -> Iterator[dict]:
    cut = len(tokens) * 9 // 10
    model = NGram(NGramConfig(order=7), vocab_size).fit(tokens[:cut])
    for o in sparsity(model, tokens[cut:]):
        yield {
            "order": o.order,
            "possible": f"{o.possible:.3g}",
            "seen": o.distinct,
            "share": f"{o.share_seen:.2g}",
            "seen once": f"{o.once / o.distinct:.0%}",
            "followers": f"{o.followers:.2f}",
            "longest match of held-out": f"{o.matched:.1%}",
        }


def compiling() -> Iterator[dict]:
    """A first fit of order 5 in a new process: with nothing compiled yet, and the next time."""
    code = (
        "import time, numpy as np; from whence.models.ngram.model import NGram, NGramConfig\n"
        "t = np.random.default_rng(0).integers(0, 65, 1000); s = time.perf_counter()\n"
        "NGram(NGramConfig(5), 65).fit(t).score(t); print(time.perf_counter() - s)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for state in ("nothing compiled", "machine code kept from then"):
            made = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                check=True,
                text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
            )
            yield {"first fit and score": state, "seconds": f"{float(made.stdout):.2f}"}


def large() -> Iterator[dict]:
    for kind in ("characters", "words"):
        made = subprocess.run(
            [sys.executable, "-m", "benchmarks.counting", kind],
            capture_output=True,
            check=True,
            text=True,
        )
        yield json.loads(made.stdout)


def measured(kind: str) -> dict:
    """One large fit in this process, its own memory (RssAnon) read all the while (Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.bin"
        tokens, vocab_size = _many(kind, path)
        config = NGramConfig(order=5, memory_mb=MEMORY_MB)
        NGram(NGramConfig(order=5, memory_mb=1), vocab_size).fit(np.asarray(tokens[:20_000]))
        before, most, done = _own_memory(), [0.0], threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                most[0] = max(most[0], _own_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        model = NGram(config, vocab_size).fit(tokens)
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        return {
            "text": f"{len(tokens) / 1e6:.0f} million {kind}, order 5",
            "limit MB": MEMORY_MB,
            "most memory MB": f"{most[0] - before:.0f}",
            "seconds": f"{seconds:.1f}",
            "million n-grams": f"{model.n_parameters / 1e6:.2f}",
        }


def _many(kind: str, path: Path) -> tuple[np.ndarray, int]:
    """100 MB of lines in ever new orders with numbers in them, or words by Zipf's law."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        if kind == "words":
            for _ in range(20):
                file.write((np.minimum(rng.zipf(1.25, 1_000_000), 50_000) - 1).astype(np.uint16))
            file.close()
            return np.memmap(path, np.uint16, "r"), 50_000
        lines = text()[1].splitlines()
        while file.tell() < 100_000_000:
            shuffled = (lines[i] + b" %d" % rng.integers(1000) for i in rng.permutation(len(lines)))
            file.write(b"\n".join(shuffled))
    return np.memmap(path, np.uint8, "r"), 256


def _own_memory() -> float:
    try:
        fields = Path("/proc/self/status").read_text(encoding="utf-8").split()
    except OSError:
        return float("nan")
    return int(fields[fields.index("RssAnon:") + 1]) / 1024


def main() -> None:
    name, raw = text()
    tokens, vocab_size = characters(raw)
    print(f"{name}: {len(tokens):,} characters, {vocab_size} different ones")
    sections: dict[str, Iterable[dict]] = {
        "Speed": chain(
            bigrams(tokens, vocab_size, "characters"),
            bigrams(*words(raw), "words"),
            fits(tokens, vocab_size),
        ),
        "Compiling": compiling(),
        "Nats per character, last tenth held out": quality(tokens, vocab_size),
        "How sparse the counts are": sparseness(tokens, vocab_size),
        "Names: nats per character, held-out tenth": names(),
        "Distance to a known entropy": distances(),
    }
    if "--large" in sys.argv:
        sections["Under a memory limit"] = large()
    for title, rows in sections.items():
        if made := list(rows):
            print(f"\n{title}")
            table(made)


if __name__ == "__main__":
    if sys.argv[1:] in (["characters"], ["words"]):
        print(json.dumps(measured(sys.argv[1])))
    else:
        main()
