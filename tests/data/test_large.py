"""Text of many files and forms: read in little memory, shuffled whole, cut on all cores."""

import json
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiktoken

from whence.data import WindowBatches, open_source, prepare
from whence.data.texts import cutting
from whence.data.texts.parallel import encoded
from whence.data.tokenizers.bpe import PATTERN
from whence.errors import WhenceError

ROWS = [f"row {i} says café and {i * i} ☂" for i in range(1000)]


def test_a_column_of_parquet_is_read_as_lines(tmp_path):
    """Written by pyarrow, in row groups; an empty cell is an empty line."""
    table = pa.table({"id": list(range(1001)), "text": [*ROWS, None]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    read = "".join(open_source(str(tmp_path / "a.parquet")).chunks())
    assert read == "\n".join(ROWS) + "\n\n"


def test_files_of_a_folder_of_every_form_are_one_text(tmp_path):
    pq.write_table(pa.table({"body": ROWS[:10]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"body": r}) + "\n" for r in ROWS[10:20]))
    (tmp_path / "c.txt").write_text(ROWS[20])
    source = open_source(str(tmp_path), field="body")
    assert [line for line in "".join(source.chunks()).split("\n") if line] == ROWS[:21]
    assert len(source.files) == 3


@pytest.mark.parametrize(
    ("column", "said"),
    [("other", "has no column 'text' (it has other): name one by --data.field"), ("text", "int")],
)
def test_a_column_that_is_not_there_or_no_text_is_named(tmp_path, column, said):
    pq.write_table(pa.table({column: [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(WhenceError) as error:
        open_source(str(tmp_path / "a.parquet"))
    assert said in str(error.value)


def test_a_damaged_parquet_file_is_told_in_a_sentence(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(WhenceError, match="can't be read as a Parquet file"):
        open_source(str(tmp_path / "a.parquet"))


def test_hundreds_of_files_are_shuffled_as_one(tmp_path):
    """Each window once in an epoch, whichever file it is of, and any step without those before."""
    for number in range(300):
        (tmp_path / f"{number:03d}.txt").write_text(f"{number:03d}" * 50)
    dataset = prepare(open_source(str(tmp_path)), "bytes", None, 0, tmp_path / "out")
    batches = WindowBatches(dataset.train, context_length=30, batch_size=16, seed=1)
    epoch = batches.windows_per_epoch
    starts = np.concatenate([batches.starts(step) for step in range(epoch // 16)])
    assert len(set(starts.tolist())) == len(starts)
    early = {int(start) // 151 for start in starts[:64]}  # the file that a window begins in
    assert len(early) > 40
    anew = WindowBatches(dataset.train, context_length=30, batch_size=16, seed=1)
    assert np.array_equal(anew.starts(77), batches.starts(77))


def test_pieces_come_in_order_and_few_are_held():
    """The first waits for a later one to have begun: they are worked on at the same time."""
    second = threading.Event()
    read: list[int] = []

    def pieces():
        for number in range(100):
            read.append(number)
            yield number, f"{number}"

    def encode(text: str) -> np.ndarray:
        if text == "0":
            assert second.wait(60)
        second.set() if text == "1" else None
        return np.array([int(text)])

    for number, (key, text, ids) in enumerate(encoded(pieces(), encode, workers=2)):
        assert (key, text, ids[0]) == (number, f"{number}", number)
        assert len(read) - number <= 8


def test_many_threads_cut_as_tiktoken_does(tmp_path):
    text = "".join(open_source("topics").chunks())[:300_000]
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    dataset = prepare(open_source(str(tmp_path / "t.txt")), "bpe", 500, 0, tmp_path / "out")
    ranks = {dataset.tokenizer.decode_bytes([i]): i for i in range(dataset.tokenizer.vocab_size)}
    oracle = tiktoken.Encoding("o", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert dataset.train.tolist() == oracle.encode_ordinary(text)


MEMORY = """
import re, sys
from pathlib import Path
import numpy, tiktoken, tokenizers, torch
from whence.data import WindowBatches, open_source, prepare
def peak():
    # Not ru_maxrss, which begins with what the process had that started this one.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
WindowBatches(numpy.arange(100), context_length=8, batch_size=2, seed=0)[0]
before = peak()
source = open_source(sys.argv[1])
dataset = prepare(source, "bytes", None, 0.1, Path(sys.argv[1] + ".out"))
batches = WindowBatches(dataset.train, context_length=256, batch_size=8, seed=0)
for step in range(50):
    batches[step]
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is read from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """Forty files of two megabytes: the kernel says how much a process of its own took for them.

    Pages of tokens.bin that a batch touched count as well; here they are the smallest part.
    """
    line = b"a line of text that is long enough to be one, and no longer than that.\n"
    for number in range(40):
        (tmp_path / f"{number}.txt").write_bytes(line * (2_000_000 // len(line)))
    words = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000_000  # of 80 MB of text, and 80 MB of tokens


KILLED = """
import sys
from pathlib import Path
from whence.data import open_source, prepare
from whence.data.texts import cutting
from whence.data.texts import unfinished
cutting.OFTEN, cutting.LONG = 1 << 19, 1 << 20
source = open_source(sys.argv[1])
seen = []
def each(what, done, total):
    if what.startswith("cutting") and done > total // 2:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
prepare(source, "bytes", None, 0.1, Path(sys.argv[2]), each=each)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_text_that_is_half_cut_when_its_process_is_killed_is_gone_on_with(tmp_path, monkeypatch):
    """The oracle: the text's own bytes, which are its tokens; and half of them aren't cut again."""
    text = "".join(f"line number {i} of a long text\n" for i in range(120_000))
    (tmp_path / "t.txt").write_text(text)
    monkeypatch.setattr(cutting, "LONG", 1 << 20)
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "cache"))
    words = [sys.executable, "-c", KILLED, str(tmp_path / "t.txt"), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True).returncode == -9
    [begun] = (tmp_path / "cache").glob(".*.cutting")
    noted = json.loads((begun / "progress.json").read_text())
    assert 0 < noted["size"] < len(text)
    with (begun / "tokens.bin").open("rb+") as file:  # what is taken over is seen by its bytes
        file.write(b"L")
    dataset = prepare(open_source(str(tmp_path / "t.txt")), "bytes", None, 0.1, tmp_path / "out")
    tokens = np.concatenate([dataset.train, dataset.validation]).astype(np.uint8).tobytes()
    assert tokens == b"L" + text.encode()[1:]
    assert not list((tmp_path / "cache").glob(".*.cutting"))
