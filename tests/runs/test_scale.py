"""What a list, a resume and an export read: counted in files and bytes, which no clock bends."""

import csv
import os
import shutil
import sys
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.tiny import abandon, finish, make
from whence.runs.fork import fork
from whence.runs.questions import export
from whence.runs.run import Run
from whence.runs.store.files import SUMMARY
from whence.runs.store.records.lines import encode_line
from whence.runs.summary import runs_in, state_of_summary, summary_of
from whence.runs.upkeep.listing import list_runs
from whence.studio.answers.training.runs import runs

N_RUNS = 12
COUNTER = Path("/proc/self/io")
_opened: list[str] | None = None


def _hear(event: str, arguments: tuple) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


sys.addaudithook(_hear)  # it can't be taken away, so it is silent between two tests


@contextmanager
def opened_files():
    """Name every file that is opened meanwhile."""
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


def n_bytes_read() -> int:
    """How many bytes this process has read, by all its calls of the system."""
    [line] = [line for line in COUNTER.read_text().splitlines() if line.startswith("rchar")]
    return int(line.split()[1])


@pytest.fixture
def never_listed(whole_path, tmp_path) -> Path:
    """A folder of runs, each copied as it was when its training ended."""
    folder = tmp_path / "runs"
    for number in range(N_RUNS):
        shutil.copytree(whole_path, folder / f"run-{number:02d}")
    return folder


def look(folder: Path) -> list[str]:
    found = [(path, summary_of(path)) for path in runs_in(folder)]
    return [state_of_summary(path, s) for path, s in found]


LISTS = {
    "whence runs": look,
    "list_runs": lambda folder: [run.name for run in list_runs(folder)],
    "the studio": lambda folder: runs(folder)["runs"],
}


@pytest.mark.parametrize("by", LISTS)
def test_the_first_look_at_a_folder_reads_no_record(never_listed, by):
    with opened_files() as names:
        assert len(LISTS[by](never_listed)) == N_RUNS
    files = {Path(name).name.partition(".json.")[0] for name in names if name.endswith("json")}
    assert files <= {SUMMARY, "control.json", "trouble.json", "tags.json"}
    assert not [name for name in names if Path(name).name.startswith(("steps", "evals", "run."))]


@pytest.mark.skipif(not COUNTER.exists(), reason="only Linux counts what a process reads")
@pytest.mark.parametrize("by", LISTS)
def test_the_first_look_reads_a_few_kilobytes_a_run(never_listed, by):
    LISTS[by](never_listed.with_name("none"))  # what is imported late
    before = n_bytes_read()
    LISTS[by](never_listed)
    assert n_bytes_read() - before < 4096 * N_RUNS


def test_a_stopped_run_and_a_new_one_are_summed_up_too(tmp_path):
    folder = tmp_path / "runs"
    make(folder / "new")
    finish(make(folder / "stopped"), until=7)
    fork(Run.open(folder / "stopped"), 5, folder / "fork")
    abandon(make(folder / "killed"), 7)
    with opened_files() as names:
        assert look(folder) == ["stopped", "stopped", "new", "stopped"]
    # Of the one that was killed some steps are behind its summary; a generator's close is gentler
    # than a kill, so it has one as well.
    assert not [name for name in names if name.endswith("steps.jsonl")]


def test_a_copy_that_was_changed_is_read(never_listed):
    changed = never_listed / "run-07" / "steps.jsonl"
    raw = bytearray(changed.read_bytes())
    raw[len(raw) // 2] ^= 1
    changed.write_bytes(bytes(raw))
    with opened_files() as names:
        troubled = [path for path in runs_in(never_listed) if summary_of(path).trouble]
    assert troubled == [changed.parent]
    assert {Path(n).parent for n in names if n.endswith("steps.jsonl")} == {changed.parent}


def test_a_copy_without_its_times_is_read_once(whole_path, tmp_path):
    path = shutil.copytree(whole_path, tmp_path / "copy")
    os.utime(path / "steps.jsonl")
    for opened_it in (True, False):
        with opened_files() as names:
            # The text of the other one may be shared with its forks, and a copy's isn't.
            mine, theirs = (replace(summary_of(run), bytes=0) for run in (path, whole_path))
        assert mine == theirs
        assert any(name.endswith("steps.jsonl") for name in names) == opened_it


def test_a_second_name_for_common_tokens_makes_no_summary_anew(own, tmp_path):
    """500 runs of one text are not summed up again because a 501st has its tokens."""
    before, size = summary_of(own.path), (own.path / "tokens.bin").stat().st_size
    os.link(own.path / "tokens.bin", tmp_path / "tokens.bin")
    with opened_files() as names:
        after = summary_of(own.path)
    assert not [name for name in names if name.endswith("steps.jsonl")]
    assert before.bytes - after.bytes == size - size // 2
    assert after.bytes == Run.open(own.path).disk_use


def test_a_listed_run_is_opened_when_it_is_asked(never_listed):
    found = list_runs(never_listed)
    assert [vars(run).keys() for run in found] == [{"path"}] * N_RUNS
    assert found[3].steps[-1] == Run.open(found[3].path).steps[-1]
    assert found[3].recipe == Run.open(found[3].path).recipe
    assert [run.created for run in found] == sorted(run.created for run in found)


@pytest.fixture
def long(own) -> Run:
    """A run whose record has 20,000 steps more than it did, with a measurement every 100."""
    records = list(own.steps)
    last = records[-1]
    with (own.path / "steps.jsonl").open("ab") as file:
        for step in range(20, 20_020):
            file.write(encode_line({**last, "step": step}))
    measured = own.evals[-1]
    with (own.path / "evals.jsonl").open("ab") as file:
        for step in range(100, 20_100, 100):
            file.write(encode_line({**measured, "step": step}))
    return Run.open(own.path)


def test_an_export_holds_no_record_in_memory(long, monkeypatch):
    rows, give = long.steps, export._rows

    def given(run):
        """Count memory from the first row on: what is checked before it is another matter."""
        found = give(run)
        yield next(found)
        tracemalloc.start()
        yield from found
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    most: list[int] = []
    monkeypatch.setattr(export, "_rows", given)
    path = export.export_metrics(long, "csv")
    with path.open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [int(row["step"]) for row in told] == list(range(len(rows)))
    assert [float(row["loss"]) for row in told] == rows.column("loss").tolist()
    measured = [int(row["step"]) for row in told if row["validation_loss"]]
    assert measured[-3:] == [19_800, 19_900, 20_000]
    assert most[0] < 1_000_000  # 20,020 dicts take 12 million
