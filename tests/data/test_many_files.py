"""Texts of several files: read once each, named with their lines, normalised, or of one field."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence import Data, GPTConfig, Recipe, Run, WhenceError
from whence.data import open_source
from whence.data.texts.reading import normalized
from whence.runs.questions.places import places


def words(name: str, n: int = 80) -> str:
    return "".join(f"{name} line {i}\n" for i in range(1, n + 1))


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(words(name))
    return folder


def test_a_file_that_comes_again_by_name_or_by_link_is_read_once(notes):
    once = open_source(str(notes))
    (notes / "d.txt").symlink_to(notes / "a.txt")
    again = open_source([str(notes), str(notes / "b.txt")])
    assert again.sha256 == once.sha256
    assert sorted(name.rsplit("/", 1)[1] for name in again.repeated) == ["b.txt", "d.txt"]


def test_a_line_is_named_by_its_file(notes, tmp_path):
    size = GPTConfig(n_layers=1, n_heads=1, d_model=8, context_length=8)
    recipe = Recipe(data=Data(source=(str(notes),), validation=0.05), model=size, steps=1)
    run = Run.create(recipe, tmp_path / "run")
    dataset, text = run.dataset, "".join(open_source(str(notes)).chunks())
    assert [line for _, line in dataset.files] == [1, 82, 163]
    for name, number in (("a", 1), ("a", 80), ("b", 1), ("b", 41), ("c", 7)):
        start = text.index(f"{name} line {number}\n")
        part = type("Part", (), {"starts": [start], "inputs": np.zeros((1, 8))})
        assert places(dataset, [part])(0, 2) == f"line {number} of {name}.txt"


@given(st.lists(st.binary(max_size=3).map(lambda b: b.replace(b"\xef", b"\r")), max_size=6))
def test_line_breaks_are_as_text_mode_reads_them(blocks):
    whole = b"".join(blocks)
    wanted = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert b"".join(normalized(iter(blocks))) == wanted
    assert b"".join(normalized(iter([b"\xef\xbb", b"\xbf", *blocks]))) == wanted


def test_marks_and_windows_line_breaks_are_dropped_unless_asked_for(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffeins\r\nzwei größer\r\n".encode())
    plain = Data(source=(str(path),)).open()
    assert "".join(plain.chunks()) == "eins\nzwei größer\n"
    assert plain.n_chars == 17
    kept = Data(source=(str(path),), normalize=False).open()
    assert "".join(kept.chunks()) == "\ufeffeins\r\nzwei größer\r\n"


def test_one_field_of_json_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"id": i, "body": f"text {i} größer"} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    source = open_source(str(path), field="body")
    assert "".join(source.chunks()) == "text 0 größer\ntext 1 größer\ntext 2 größer\n"
    with pytest.raises(WhenceError, match=r"line 1 of .*rows.jsonl has no text in a field 'text'"):
        open_source(str(path), field="text")


def test_validation_on_a_text_of_its_own(tmp_path):
    (tmp_path / "train.txt").write_text(words("train"))
    (tmp_path / "held.txt").write_text(words("held", 20))
    data = Data((str(tmp_path / "train.txt"),), validation_source=(str(tmp_path / "held.txt"),))
    size = GPTConfig(n_layers=1, n_heads=1, d_model=8, context_length=8)
    dataset = Run.create(Recipe(data=data, model=size, steps=1), tmp_path / "run").dataset
    assert dataset.tokenizer.decode(dataset.train) == words("train")
    assert dataset.tokenizer.decode(dataset.validation) == words("held", 20)
