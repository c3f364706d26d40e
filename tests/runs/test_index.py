"""The index of a record: as the record says, or not used; and what it saves."""

import json
import os
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runs.tiny import abandon, finish, losses, make
from whence.errors import WhenceError
from whence.runs.fork import fork
from whence.runs.run import Run
from whence.runs.store.files import DamagedError
from whence.runs.store.records import lines as lines_module
from whence.runs.store.records.curves import Curves
from whence.runs.store.records.index import ROW


def by_json(run: Run) -> list[dict]:
    """What Python's own json reads in the record, each line's checksum by zlib's CRC-32."""
    found = []
    for line in (run.path / "steps.jsonl").read_bytes().splitlines()[1:]:
        body, _, crc = line.rpartition(b', "crc": "')
        assert crc == b'%08x"}' % zlib.crc32(body)
        found.append(json.loads(body + b"}"))
    return found


def invented(path: Path, n: int) -> Run:
    """A run whose record holds steps that were never done."""
    run = make(path, steps=n + 10)
    run.logs.steps.replace(
        [
            {
                "step": step, "loss": 1 / (step + 1), "loss_hex": (1 / (step + 1)).hex(),
                "rate": 0.001, "grad_norm": 1.5, "seconds": 0.25, "tokens": 64,
            }
            for step in range(n)
        ]
    )  # fmt: skip
    return run


def test_steps_are_the_lines_and_columns_their_numbers(whole):
    steps, lines = whole.steps, by_json(whole)
    assert len(steps) == 20
    assert list(steps) == lines
    assert steps == lines
    assert steps[7] == lines[7]
    assert steps[-1] == lines[-1]
    assert steps[3:9] == lines[3:9]
    assert steps[::-4] == lines[::-4]
    for name in ("loss", "rate", "grad_norm", "seconds", "tokens"):
        assert steps.column(name).tolist() == [line[name] for line in lines]
    assert steps.seconds(3, 9) == pytest.approx(sum(line["seconds"] for line in lines[3:9]))
    with pytest.raises(IndexError):
        steps[20]


def test_the_index_holds_every_line_once_the_training_is_over(whole):
    rows = np.fromfile(whole.path / "steps.index", ROW)
    lines = (whole.path / "steps.jsonl").read_bytes().splitlines(keepends=True)
    assert rows["end"].tolist() == np.cumsum([len(line) for line in lines[1:]]).tolist()
    assert rows["record_crc"][-1] == zlib.crc32(b"".join(lines[1:]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), record=st.booleans())
def test_a_flipped_bit_of_the_record_is_told_and_one_of_the_index_harmless(
    own, whole, at, bit, record
):
    path = own.path / ("steps.jsonl" if record else "steps.index")
    kept = {p: p.read_bytes() for p in (own.path / "steps.jsonl", own.path / "steps.index")}
    raw = bytearray(kept[path])
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    try:
        if record:
            with pytest.raises(WhenceError):
                list(Run.open(own.path).steps)
            assert Curves(own.path).damage
        else:
            assert Run.open(own.path).steps == by_json(whole)
            assert Curves(own.path)["loss"].tolist() == [line["loss"] for line in by_json(whole)]
    finally:
        for p, data in kept.items():
            p.write_bytes(data)


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def _reordered(path: Path) -> None:
    rows = np.fromfile(path, ROW)
    rows[[3, 4]] = rows[[4, 3]]
    rows.tofile(path)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _huge(path: Path) -> None:
    os.truncate(path, 1 << 40)  # a hole of a terabyte


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [Path.unlink, _torn, _doubled, _reordered, _zeros, _huge, _folder])
def test_without_a_fitting_index_all_is_the_same(harm, own, whole):
    harm(own.path / "steps.index")
    assert Run.open(own.path).steps == by_json(whole)
    assert own.at(7).replayed == 2
    finish(Run.open(own.path), steps=23)  # and it goes on
    assert Run.open(own.path).steps == by_json(own)
    assert len(own.steps) == 23
    if not (own.path / "steps.index").is_dir():
        assert len(np.fromfile(own.path / "steps.index", ROW)) == 23


def test_an_index_of_another_run_of_the_same_length(own, tmp_path):
    other = make(tmp_path / "other", seed=1)
    finish(other)
    (own.path / "steps.index").write_bytes((other.path / "steps.index").read_bytes())
    assert losses(own) != losses(other)
    assert Curves(own.path)["loss"].tolist() == [line["loss"] for line in by_json(own)]


def test_a_killed_training_leaves_an_index_that_is_behind(tmp_path):
    """The lines it lacks are read from the record, at every point of the index."""
    run = make(tmp_path / "run")
    abandon(run, 13)
    raw = (run.path / "steps.index").read_bytes()
    for n in range(14):
        (run.path / "steps.index").write_bytes(raw[: n * ROW.itemsize])
        assert Run.open(run.path).steps == by_json(run)


def test_a_list_of_steps_stays_what_it_was_while_the_record_grows(tmp_path):
    run = make(tmp_path / "run")
    abandon(run, 7)
    before, lines = run.steps, by_json(run)
    finish(run)
    assert before == lines
    assert len(run.steps) == 20
    assert run.steps[:7] == lines


def test_a_record_that_is_changed_in_place_is_read_anew(own):
    assert len(own.steps) == 20
    path = own.path / "steps.jsonl"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DamagedError):
        list(own.steps)


def test_losses_that_say_two_things_are_damage(own):
    records = list(own.steps)
    records[4] |= {"loss": 1.0}
    own.logs.steps.replace(records)
    (own.path / "steps.index").unlink()
    with pytest.raises(WhenceError, match="line 6: loss and loss_hex differ"):
        list(Run.open(own.path).steps)


@pytest.mark.parametrize("value", ["1e400", str(10**400), '"a"', "null", "[]"])
def test_a_number_that_is_none_is_damage(value, own):
    path = own.path / "steps.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    body = b'{"step": 3, "loss": %s, "loss_hex": "0x1p+0"' % value.encode()
    body += b', "rate": 1, "grad_norm": 1, "seconds": 1, "tokens": 1'
    lines[4] = body + b', "crc": "%08x"}\n' % zlib.crc32(body)
    path.write_bytes(b"".join(lines))
    with pytest.raises(WhenceError, match=r"steps\.jsonl is damaged: line 5"):
        list(Run.open(own.path).steps)
    assert Curves(own.path).n_steps == 3


@pytest.fixture
def parsed(monkeypatch) -> list[int]:
    """Counts the lines of records that are parsed as JSON."""
    count = [0]
    parse = lines_module.parse_object

    def counting(*words):
        count[0] += 1
        return parse(*words)

    monkeypatch.setattr(lines_module, "parse_object", counting)
    return count


def test_resume_rewind_and_fork_of_a_long_record_read_its_end_alone(tmp_path, parsed):
    run = invented(tmp_path / "run", 20_000)
    session = run.session()
    from whence.runs.store.chain import link, note
    from whence.runs.store.checkpoints import copied, save_checkpoint
    from whence.runs.store.past import Past

    state = copied(session.model.state_dict(keep_vars=True)), copied(session.optimizer.state_dict())
    save_checkpoint(run.checkpoint_folder, 20_000, *state, link(run.header, Past(run.path).now()))
    note(run.path, run.header, [20_000])
    parsed[0] = 0
    finish(Run.open(run.path), until=20_003)
    assert Run.open(run.path).at(20_002).replayed == 2
    child = fork(Run.open(run.path), 20_002, tmp_path / "child")
    assert parsed[0] < 300
    assert child.steps == by_json(run)[:20_002]
    finish(child, until=20_004)
    assert len(child.steps) == 20_004
    assert losses(child)[:20_003] == losses(run)[:20_003]


def test_a_long_record_takes_little_memory(tmp_path):
    run = invented(tmp_path / "run", 50_000)
    size = (run.path / "steps.jsonl").stat().st_size
    opened = Run.open(run.path)
    tracemalloc.start()
    try:
        assert len(opened.steps) == 50_000
        assert sum(record["tokens"] for record in opened.steps) == 50_000 * 64
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size / 1.5  # a list of dicts takes six times as much as the file
