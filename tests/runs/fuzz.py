"""Change a run's files in every way that comes to mind and let everything read them.

Each reader must give an answer or one sentence, in time and within a bound of memory. A sample runs
with the tests; `python -m tests.runs.fuzz --files 2000` looks harder. POSIX only (it forks).
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
import torch

from tests.runs.tiny import finish, make, sign
from whence.errors import WhenceError
from whence.runs.compare import compare
from whence.runs.fork import fork
from whence.runs.listing import list_runs
from whence.runs.questions.curves import Curves
from whence.runs.questions.export import export_metrics
from whence.runs.questions.growth import growth
from whence.runs.questions.whatif import what_if
from whence.runs.repair import repair
from whence.runs.run import Run
from whence.runs.store.files import sha256
from whence.runs.store.header import PINNED, Header, _first_line
from whence.runs.verify import verify

NAMES = (
    "run.toml",
    "tokens.json",
    "tokens.bin",
    "tokenizer.json",
    "steps.jsonl",
    "evals.jsonl",
    "samples.jsonl",
    "checkpoints.jsonl",
    "checkpoints/000010/state.json",
    "checkpoints/000010/model.safetensors",
    "checkpoints/000020/state.json",
    "checkpoints/000020/optimizer.safetensors",
)
LONGEST = 1000  # characters: more than a sentence fills a screen
SECONDS = 60.0
MEMORY = 3 << 30
READERS: dict[str, Callable[[Path], Any]] = {
    "list": lambda path: [(run.state, run.disk_use) for run in list_runs(path.parent)],
    "record": lambda path: [Run.open(path).steps, Run.open(path).evals, Run.open(path).samples],
    "curves": lambda path: Curves(path).evals,
    "rewind": lambda path: Run.open(path).at(12),
    "generate": lambda path: Run.open(path).generate("9", max_tokens=3),
    "evaluate": lambda path: Run.open(path).evaluate("9 bottles of beer", at="last"),
    "growth": lambda path: growth(Run.open(path), "9 bottles"),
    "compare": lambda path: compare(Run.open(path), Run.open(path)),
    "what-if": lambda path: what_if(Run.open(path), "bottles of beer on the wall, 7", 12),
    "export": lambda path: export_metrics(Run.open(path), "csv"),
    "fork": lambda path: fork(Run.open(path), 12, path.with_name("forked")).remove(),
    "verify": lambda path: verify(Run.open(path), 3),
    "resume": lambda path: next(Run.open(path).train(steps=21)),
    "repair": lambda path: repair(Run.open(path)),  # the last: it changes things
}
ODD = (
    *(None, True, -1, 0, 1, 2, 17, 10**6, 10**9, 2**31, 2**63 - 1, 2**63, 10**30, 10**400),
    *(0.5, -1.0, 1e300, float("inf"), float("nan")),
    *("", "../../etc/passwd", "a\0b", "gpt", "x" * 100_000, "\x1b[2J", "\u202e", "[/b]"),
    *([], [1, 2], [[[]]], {}, {"kind": 1}),
)


def resign(path: Path) -> None:
    """Make every checksum fit again, as one who means harm would; what can't be is left."""
    with suppress(Exception):
        description = json.loads((path / "tokens.json").read_text())
        description["tokens_sha256"] = sha256(path / "tokens.bin")
        (path / "tokens.json").write_text(json.dumps(description))
    with suppress(Exception):
        tree = header(path)
        tree["pins"] = {name: sha256(path / name) for name in PINNED}
        write_header(path, tree)
    with suppress(Exception):
        sign(Run(path, Header.read(path)))


def write_header(path: Path, tree: dict) -> None:
    """Write run.toml with a checksum that fits."""
    body = tomli_w.dumps(tree)
    (path / "run.toml").write_text(_first_line(body) + body, encoding="utf-8")


def header(path: Path) -> dict:
    """Read what run.toml says."""
    return tomllib.loads((path / "run.toml").read_text().partition("\n")[2])


def leaves(tree, before=()):
    """Give the place of every value in nested lists and dicts."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*before, name)
        if isinstance(value, dict | list):
            yield from leaves(value, (*before, name))


def put(tree, place, value) -> None:
    """Set a value at a place; None takes it out."""
    for name in place[:-1]:
        tree = tree[name]
    if value is None:
        del tree[place[-1]]
    else:
        tree[place[-1]] = value


def mutate(path: Path, draw: random.Random) -> str:
    """Change one of a run's files; say what was done."""
    name = draw.choice(NAMES)
    ways = [_bytes, _bytes, _whole, _hollow]
    if name.endswith((".json", ".toml")):
        ways += [_value] * 4
    elif name.endswith(".jsonl"):
        ways += [_line] * 3
    way = draw.choice(ways)
    done = way(path / name, draw)
    signed = draw.random() < 0.5
    if signed:
        resign(path)
    return f"{name}: {done}{', signed' if signed else ''}"


def _bytes(path: Path, draw: random.Random) -> str:
    raw = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 3, 50])):
        at, kind = draw.randrange(len(raw) + 1), draw.randrange(4)
        if kind == 0 and at < len(raw):
            raw[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del raw[at : at + draw.randrange(20)]
        elif kind == 2:
            raw[at:at] = draw.randbytes(draw.randrange(20))
        else:
            raw[at:at] = raw[draw.randrange(len(raw) + 1) :][:50]
    path.write_bytes(bytes(raw))
    return "bytes changed"


def _whole(path: Path, draw: random.Random) -> str:
    kind = draw.randrange(6)
    raw = path.read_bytes()
    path.unlink()
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.write_bytes(b"")
    elif kind == 3:
        path.write_bytes(raw[: len(raw) // 2])
    elif kind == 4:
        path.write_bytes(draw.choice([b"[", b'{"a":', b"a = ["]) * 50_000)
    elif kind == 5:
        path.write_bytes(raw * 2)
    return ("gone", "a folder", "empty", "cut in half", "nested", "doubled")[kind]


def _hollow(path: Path, draw: random.Random) -> str:
    size = draw.choice([2 << 30, 1 << 40])
    with path.open("r+b") as file:
        file.truncate(size)  # it takes no disk
    return f"grown to {size:,} bytes of nothing"


def _value(path: Path, draw: random.Random) -> str:
    if path.name == "run.toml":
        tree = header(path.parent)
    else:
        tree = json.loads(path.read_text())
    place, value = draw.choice(sorted(leaves(tree), key=str)), draw.choice(ODD)
    put(tree, place, value)
    if path.name == "run.toml":
        with suppress(Exception):  # what TOML can't say
            write_header(path.parent, tree)
    else:
        path.write_text(json.dumps(tree))
    return f"{'.'.join(map(str, place))} = {str(value)[:30]!r}"


def _line(path: Path, draw: random.Random) -> str:
    """A value of a line that has a checksum that fits, a line twice, or gone, or two exchanged."""
    from whence.runs.store.lines import encode_line

    lines = path.read_bytes().splitlines(keepends=True)
    at, kind = draw.randrange(len(lines)), draw.randrange(4)
    if kind == 0:
        record = json.loads(lines[at])
        record.pop("crc", None)
        name, value = draw.choice(list(record)), draw.choice(ODD)
        record[name] = value
        lines[at] = encode_line(record)
        done = f"line {at + 1}: {name} = {str(value)[:30]!r}"
    elif kind == 1:
        lines.insert(at, lines[at])
        done = f"line {at + 1} twice"
    elif kind == 2:
        del lines[at]
        done = f"line {at + 1} gone"
    else:
        other = draw.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
        done = f"lines {at + 1} and {other + 1} exchanged"
    path.write_bytes(b"".join(lines))
    return done


def read_all(path: Path, turn: Callable[[str], None] = lambda name: None) -> list[str]:
    """Let every reader have its turn, in this process; give what was no clean answer."""
    wrong: list[str] = []
    for name, reader in READERS.items():
        turn(name)
        try:
            reader(path)
        except WhenceError as error:
            said = str(error)
            if len(said) > LONGEST or "\n" in said.strip() or "Traceback" in said:
                wrong.append(f"{name}: no sentence: {said[:300]!r} ({len(said)})")
        except Exception as error:
            wrong.append(f"{name}: {f'{type(error).__name__}: {error}'[:300]!r}")
    return wrong


def use(path: Path, seconds: float = SECONDS) -> list[str]:
    """Let every reader read a folder in another process; give what was no clean answer."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        torch.set_num_threads(1)  # OpenMP's other threads did not come along in the fork
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
        wrong = read_all(path, lambda name: _tell(write_end, name))
        for line in wrong:
            _tell(write_end, f"! {line}")
        os._exit(0)
    os.close(write_end)
    wrong, turn = _listen(pid, read_end, seconds)
    os.close(read_end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code and not any("in time" in line for line in wrong):
        wrong.append(f"{turn}: ended the process with {code}")
    return wrong


def _tell(told: int, line: str) -> None:
    os.write(told, f"{line}\n".encode("utf-8", "replace"))


def _listen(pid: int, told: int, seconds: float) -> tuple[list[str], str]:
    """Hear whose turn it is until all are done; kill the process when one takes too long."""
    os.set_blocking(told, False)
    wrong: list[str] = []
    turn, since, rest = "", time.monotonic(), b""
    while True:
        try:
            raw = os.read(told, 1 << 16)
        except BlockingIOError:
            if time.monotonic() - since > seconds:
                os.kill(pid, signal.SIGKILL)
                return [*wrong, f"{turn}: no answer in time"], turn
            time.sleep(0.002)
            continue
        if not raw:
            return wrong, turn
        *lines, rest = (rest + raw).split(b"\n")
        for line in lines:
            if line.startswith(b"!"):
                wrong.append(line[2:].decode("utf-8", "replace"))
            else:
                turn, since = line.decode(), time.monotonic()


def fuzz(n_files: int, seed: int) -> tuple[int, list[str]]:
    """Change so many files, one run each; give the number of calls and what was no clean answer."""
    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="fuzz "))
    whole, wrong = folder / "whole", []
    finish(make(whole))
    for reader in READERS.values():  # what torch loads lazily is loaded once
        shutil.copytree(whole, folder / "warm" / "run", dirs_exist_ok=True)
        reader(folder / "warm" / "run")
    shutil.rmtree(folder / "warm")
    for number in range(n_files):
        place = folder / f"{number}"
        path = Path(shutil.copytree(whole, place / "run"))
        done = mutate(path, draw)
        wrong += [f"{number}, {done}: {line}" for line in use(path)]
        shutil.rmtree(place)
    shutil.rmtree(folder)
    return n_files * len(READERS), wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    calls, wrong = fuzz(arguments.files, arguments.seed)
    print("\n".join(wrong))
    print(f"{calls:,} calls of readers, {len(wrong):,} without an answer or a sentence in time")
