"""Changes of a run's files, of every kind that comes to mind, with checksums that fit or don't."""

import json
import os
import random
import tomllib
from contextlib import suppress
from pathlib import Path

import tomli_w

from tests.runs.tiny import sign
from whence.runs.run import Run
from whence.runs.store.files import sha256
from whence.runs.store.header import PINNED, Header, _first_line
from whence.runs.store.records.lines import encode_line

NAMES = (
    "run.toml",
    "tokens.json",
    "tokens.bin",
    "tokenizer.json",
    "steps.jsonl",
    "evals.jsonl",
    "samples.jsonl",
    "checkpoints.jsonl",
    "steps.index",
    ".summary.json",
    "checkpoints/000010/state.json",
    "checkpoints/000010/model.safetensors",
    "checkpoints/000020/state.json",
    "checkpoints/000020/optimizer.safetensors",
)
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
    done = change(path / name, draw)
    signed = draw.random() < 0.5
    if signed:
        resign(path)
    return f"{name}: {done}{', signed' if signed else ''}"


def change(path: Path, draw: random.Random) -> str:
    """Change a file in one of the ways that fit it; say what was done."""
    ways = [scramble, scramble, _whole, _hollow]
    if path.suffix in (".json", ".toml"):
        ways += [_value] * 4
    elif path.suffix == ".jsonl":
        ways += [_line] * 3
    return draw.choice(ways)(path, draw)


def scramble(path: Path, draw: random.Random) -> str:
    """Flips, cuts, repeats and rubbish."""
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
    kind = draw.randrange(7 if hasattr(os, "mkfifo") else 6)
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
    elif kind == 6:
        os.mkfifo(path)
    return ("gone", "a folder", "empty", "cut in half", "nested", "doubled", "a pipe")[kind]


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
