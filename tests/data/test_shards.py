"""Tokens on disk: written whole, opened by map, checked."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from whence.data.texts.cutting import prepare
from whence.data.texts.shards import open_dataset
from whence.data.texts.sources import open_source, text_source
from whence.data.tokenizers import KINDS, train_tokenizer
from whence.errors import WhenceError

SHAKESPEARE = Path(__file__).parents[2].parent / "shared" / "data" / "tinyshakespeare.txt"
TEXT = "".join(f"Line {i} of the text, größer und 字.\r\n" for i in range(400))


def made(text=TEXT, size=37):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    return text_source("made", lambda: pieces)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("validation", [0, 0.1, 0.37])
def test_tokens_are_those_of_the_two_sides_of_the_text(kind, validation, tmp_path):
    dataset = prepare(made(), kind, 400 if kind == "bpe" else None, validation, tmp_path)
    split = int((1 - validation) * len(TEXT))
    inside = 0 < split < len(TEXT) and TEXT[split - 1].strip() and TEXT[split].strip()
    if kind == "words" and inside:
        split -= len(re.search(r"\s\S*$", TEXT[:split])[0])  # held out whole, its space with it
    train, rest = TEXT[:split], TEXT[split:]
    assert np.array_equal(dataset.train, dataset.tokenizer.encode(train))
    assert np.array_equal(dataset.validation, dataset.tokenizer.encode(rest))
    assert dataset.n_bytes_train == len(train.encode())
    assert dataset.n_bytes_validation == len(rest.encode())
    assert dataset.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert dataset.source == "made"
    assert not dataset.train.flags.writeable
    assert dataset.train.dtype == dataset.tokenizer.dtype
    again = open_dataset(tmp_path, verify=True)
    assert np.array_equal(again.train, dataset.train)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tokenizer.json",
        "tokens.bin",
        "tokens.json",
    ]


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="../shared/data/tinyshakespeare.txt is absent")
def test_the_split_of_the_public_recipe(tmp_path):
    dataset = prepare(open_source(str(SHAKESPEARE)), "chars", None, 0.1, tmp_path)
    text = SHAKESPEARE.read_text(encoding="utf-8")
    assert dataset.tokenizer.vocab_size == 65
    assert (len(dataset.train), len(dataset.validation)) == (1_003_854, 111_540)
    ids = {char: number for number, char in enumerate(sorted(set(text)))}
    assert dataset.validation[:500].tolist() == [ids[char] for char in text[1_003_854:1_004_354]]


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_words_and_bpe_learn_from_the_training_side_only(kind, tmp_path):
    text = "seen seen seen " * 90 + "unseen " * 22
    dataset = prepare(text_source("made", lambda: [text]), kind, 300, 0.12, tmp_path)
    cut = text[: int(0.88 * len(text))]
    cut = cut.rpartition(" ")[0] if kind == "words" else cut
    alone = train_tokenizer(kind, lambda: [cut], 300)
    assert dataset.tokenizer.vocab_size == alone.vocab_size
    with pytest.raises(WhenceError, match="a token"):
        dataset.tokenizer.id(" unseen")


def test_characters_come_from_the_whole_text(tmp_path):
    dataset = prepare(text_source("made", lambda: ["a" * 9 + "b"]), "chars", None, 0.1, tmp_path)
    assert dataset.validation.tolist() == [1]


def test_a_given_tokenizer_is_used(tmp_path):
    tokenizer = train_tokenizer("chars", lambda: ["abc"])
    source = text_source("made", lambda: ["cab"])
    dataset = prepare(source, "chars", None, 0, tmp_path, tokenizer=tokenizer)
    assert dataset.train.tolist() == [2, 0, 1]
    with pytest.raises(WhenceError, match="'d'"):
        prepare(text_source("x", lambda: ["d"]), "chars", None, 0, tmp_path, tokenizer=tokenizer)


def test_more_than_65536_tokens_take_four_bytes_each(tmp_path):
    text = "".join(chr(0x20000 + i) for i in range(40_000)) + "".join(
        chr(0x4E00 + i) for i in range(20_000)
    )
    text += "".join(chr(0xAC00 + i) for i in range(11_000))
    dataset = prepare(text_source("made", lambda: [text]), "chars", None, 0, tmp_path)
    assert dataset.train.dtype == np.uint32
    assert dataset.tokenizer.decode(dataset.train) == text


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, float("nan")])
def test_a_share_out_of_range(validation, tmp_path):
    with pytest.raises(WhenceError, match="isn't a share"):
        prepare(made(), "chars", None, validation, tmp_path)


def test_a_failure_leaves_the_old_tokens_whole(tmp_path):
    prepare(made(), "chars", None, 0.1, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stream = iter([["one "], ["two "]])
    changing = text_source("made", lambda: next(stream))
    with pytest.raises(WhenceError, match="changed while"):
        prepare(changing, "bytes", None, 0.1, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interruption_between_files_leaves_no_mixture(tmp_path, monkeypatch):
    prepare(made(), "chars", None, 0.1, tmp_path)

    def killed(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(made(TEXT[::-1]), "chars", None, 0.1, tmp_path)
    with pytest.raises(WhenceError, match="has no complete tokens"):
        open_dataset(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(WhenceError, match="can't be written"):
        prepare(made(), "chars", None, 0.1, tmp_path / "file" / "run")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WhenceError, match=r"No space left on device.*make room"):
        prepare(made(), "chars", None, 0.1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def edit(name, value):
    def change(folder):
        path = folder / "tokens.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        record[name] = value
        path.write_text(json.dumps(record), encoding="utf-8")

    return change


DAMAGE = {
    "no tokens.json": (lambda f: (f / "tokens.json").unlink(), "has no complete tokens"),
    "torn tokens.json": (lambda f: (f / "tokens.json").write_bytes(b'{"schema'), "damaged"),
    "tokens.json of another kind": (lambda f: (f / "tokens.json").write_bytes(b"[]"), "damaged"),
    "newer": (edit("schema", 2), "newer version of Whence"),
    "no count": (edit("count", None), "no valid 'count'"),
    "odd dtype": (edit("dtype", "float64"), "impossible sizes"),
    "split beyond the end": (edit("split", 10**9), "impossible sizes"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "can't be read"),
    "another tokenizer": (
        lambda f: train_tokenizer("words", lambda: [" ".join(map(str, range(999)))]).save(
            f / "tokenizer.json"
        ),
        "doesn't belong to",
    ),
    "no tokens.bin": (lambda f: (f / "tokens.bin").unlink(), "can't be read"),
    "short tokens.bin": (lambda f: (f / "tokens.bin").write_bytes(b"abc"), "3 bytes instead of"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_on_opening(case, tmp_path):
    prepare(made(), "chars", None, 0.1, tmp_path)
    damage, message = DAMAGE[case]
    damage(tmp_path)
    with pytest.raises(WhenceError, match=message):
        open_dataset(tmp_path)


def test_a_flipped_bit_is_found_when_asked(tmp_path):
    prepare(made(), "chars", None, 0.1, tmp_path)
    raw = bytearray((tmp_path / "tokens.bin").read_bytes())
    raw[17] ^= 1
    (tmp_path / "tokens.bin").write_bytes(raw)
    open_dataset(tmp_path)
    with pytest.raises(WhenceError, match="damaged: its sha256 is"):
        open_dataset(tmp_path, verify=True)


MEMORY = """
import sys
from pathlib import Path
from whence.data import open_source, prepare

def peak():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024

before = peak()
dataset = prepare(open_source(sys.argv[1]), sys.argv[2], None, 0.1, Path(sys.argv[3]))
print(len(dataset.train), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["chars", "bytes"])
def test_a_large_text_needs_little_memory(kind, tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        for _ in range(120):
            file.write(("It was a dark and größer night.\n" * 31_000).encode())
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path), kind, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"},
    )
    count, extra = done.stdout.split()
    assert int(count) > 0.85 * path.stat().st_size * (0.93 if kind == "chars" else 1)
    assert path.stat().st_size > 110 << 20
    assert float(extra) < 60, "megabytes on top of the program's own"
