"""Cut, exchange and delete a run's files in every way that a hand or a disk does; all readers read.

Each reader must say so in a sentence, or give what it gives of the run that nothing happened to;
`verify` must always say so. Anything else is silent, and a fault. A sample runs with the tests;
`python -m tests.runs.cuts` does them all.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.runs.tiny import finish, make
from whence.errors import WhenceError
from whence.runs.compare import compare
from whence.runs.fork import fork
from whence.runs.questions.growth import growth
from whence.runs.run import Run
from whence.runs.summary import summary_of
from whence.runs.upkeep.verify import verify

RECORDS = ("steps.jsonl", "evals.jsonl", "samples.jsonl", "checkpoints.jsonl")
TEXTS = ("run.toml", "tokens.json", "tokens.bin", "tokenizer.json")
SAVED = (5, 10, 15, 20)
PARTS = ("state.json", "model.safetensors", "optimizer.safetensors")
READERS: dict[str, Callable[[Run], Any]] = {
    "list": lambda run: _without_size(run),
    "state": lambda run: run.state,
    "steps": lambda run: list(run.steps),
    "evals": lambda run: run.evals,
    "samples": lambda run: run.samples,
    "checkpoints": lambda run: run.checkpoints,
    "rewind": lambda run: run.at(12).loss(),
    "generate": lambda run: run.generate("9", at="last", max_tokens=4, seed=0),
    "evaluate": lambda run: run.evaluate("9 bottles of beer").loss,
    "growth": lambda run: growth(run, "9 bottles").probabilities.tolist(),
    "compare": lambda run: str(compare(run, run)),
    "fork": lambda run: fork(run, 12, run.path.with_name("forked")).at(12).loss(),
    "verify": lambda run: verify(run, 1).exact,
    "resume": lambda run: _first_step(run),
}
AS_A_KILL = {
    "checkpoints.jsonl cut at 90% of its bytes",
    "checkpoints.jsonl cut at 99% of its bytes",
    "checkpoints.jsonl cut at 80% of its lines",
    "checkpoints.jsonl cut at 95% of its lines",
}
Cut = tuple[str, Callable[[Path], None]]


def _without_size(run: Run) -> dict[str, Any]:
    found = summary_of(run.path)
    if found.trouble:
        raise WhenceError(found.trouble)
    return {**asdict(found), "bytes": 0}


def _first_step(run: Run) -> tuple[int, str]:
    for event in run.train(steps=31):
        if type(event).__name__ == "Stepped":
            return event.step, event.loss.hex()
    raise AssertionError("no step was done")


def _lines(share: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: int(len(lines) * share)]))

    return cut


def _bytes(share: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])

    return cut


def _without(start: float, stop: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        a, b = int(len(lines) * start), max(int(len(lines) * stop), int(len(lines) * start) + 1)
        path.write_bytes(b"".join(lines[:a] + lines[b:]))

    return cut


def _flipped(share: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[int((len(raw) - 1) * share)] ^= 1
        path.write_bytes(bytes(raw))

    return flip


def cuts(other: Path) -> Iterator[Cut]:
    """Give each thing that is done to a run's folder, with its name.

    Args:
        other: a run like it, of another seed.
    """
    files = [*RECORDS, *TEXTS, *(f"checkpoints/{s:06d}/{p}" for s in SAVED for p in PARTS)]

    def at(name: str, done: Callable[[Path], None]) -> Callable[[Path], None]:
        return lambda run: done(run / name)

    for name in files:
        yield f"{name} deleted", at(name, Path.unlink)
        yield f"{name} emptied", at(name, lambda path: path.write_bytes(b"") and None)
        if (other / name).read_bytes():
            yield f"another run's {name}", _from(other, name)
        for share in (0.1, 0.5, 0.9, 0.99):
            yield f"{name} cut at {share:.0%} of its bytes", at(name, _bytes(share))
            yield f"a bit of {name} at {share:.0%}", at(name, _flipped(share))
        if name in RECORDS:
            for share in (0.2, 0.4, 0.6, 0.8, 0.95):
                yield f"{name} cut at {share:.0%} of its lines", at(name, _lines(share))
            for start, stop in ((0, 0), (0.3, 0.3), (0.3, 0.6), (0.6, 0.9)):
                yield f"{name} without {start:.0%} to {stop:.0%}", at(name, _without(start, stop))
    for step in SAVED:
        folder = f"checkpoints/{step:06d}"
        yield f"{folder} deleted", at(folder, shutil.rmtree)
        yield f"another run's {folder}", _from(other, folder)
    for a, b in itertools.permutations(SAVED, 2):
        for part in PARTS:
            yield f"{part} of checkpoint {a} in {b}", _within(a, b, part)
        yield f"checkpoint {a} in the place of {b}", _within(a, b, "")
    for pair in itertools.combinations((*RECORDS, "run.toml"), 2):
        yield f"another run's {' and '.join(pair)}", _from(other, *pair)
    yield "another run's records", _from(other, *RECORDS)
    yield "another run's checkpoints", _from(other, "checkpoints")
    yield "another run's checkpoints and their list", _from(other, "checkpoints", RECORDS[3])
    yield "another run's record and checkpoints", _from(other, "checkpoints", *RECORDS)
    yield "all checkpoints deleted", at("checkpoints", shutil.rmtree)
    for share in (0.25, 0.5, 0.75):

        def all_cut(run: Path, share: float = share) -> None:
            for name in RECORDS:
                _lines(share)(run / name)

        yield f"all records cut at {share:.0%}", all_cut


def _from(other: Path, *names: str) -> Callable[[Path], None]:
    def exchange(run: Path) -> None:
        for name in names:
            if (other / name).is_dir():
                shutil.rmtree(run / name)
                shutil.copytree(other / name, run / name)
            else:
                shutil.copyfile(other / name, run / name)

    return exchange


def _within(a: int, b: int, part: str) -> Callable[[Path], None]:
    def exchange(run: Path) -> None:
        here, there = (run / f"checkpoints/{step:06d}" for step in (a, b))
        if part:
            shutil.copyfile(here / part, there / part)
        else:
            shutil.rmtree(there)
            shutil.copytree(here, there)

    return exchange


def silent(every: int = 1, first: int = 0) -> tuple[int, list[str]]:
    """Do each (or one of so many) and let all read; give how many there were, and the silent."""
    folder = Path(tempfile.mkdtemp(prefix="cuts "))
    whole, other = folder / "whole", folder / "other"
    finish(make(whole))
    finish(make(other, seed=5))
    like = {}
    for reader, read in READERS.items():
        copied = Path(shutil.copytree(whole, folder / "run"))
        like[reader] = read(Run.open(copied))
        shutil.rmtree(copied)
        shutil.rmtree(folder / "forked", ignore_errors=True)
    n, quiet = 0, []
    for name, cut in itertools.islice(cuts(other), first % every, None, every):
        if not _changes(cut, whole, folder / "run"):
            continue
        n += 1
        # A checkpoint that isn't noted yet is what a kill leaves, and nothing is lost.
        leaves_as_a_kill = name in AS_A_KILL
        for reader, read in READERS.items():
            copied = Path(shutil.copytree(whole, folder / "run"))
            cut(copied)
            try:
                same = read(Run.open(copied)) == like[reader]
                if not same or (reader == "verify" and not leaves_as_a_kill):
                    quiet.append(f"{name}: {reader}")
            except WhenceError:
                pass
            shutil.rmtree(copied)
            shutil.rmtree(folder / "forked", ignore_errors=True)
    shutil.rmtree(folder)
    return n, quiet


def _changes(cut: Callable[[Path], None], whole: Path, path: Path) -> bool:
    """Tell whether there is a difference: runs of one text have one tokenizer."""
    shutil.copytree(whole, path)
    cut(path)
    now, before = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (path, whole)
    )
    shutil.rmtree(path)
    return now != before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    count, found = silent(given.every, given.first)
    print("\n".join(found))
    print(
        f"{count} cuts, exchanges and losses, {count * len(READERS):,} readings: "
        f"{len(found)} silent"
    )
    sys.exit(bool(found))
