"""Where text comes from, and every way in which that can go wrong."""

import hashlib
import io
import os
import sys
import threading
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from whence.data.texts import reading
from whence.data.texts.sources import open_source, text_source
from whence.errors import WhenceError


def text_of(source):
    return "".join(source.chunks())


def check(source, text):
    raw = text.encode()
    assert text_of(source) == text
    assert text_of(source) == text, "a source can be read again"
    assert source.n_bytes == len(raw)
    assert source.n_chars == len(text)
    assert source.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("name", ["a.txt", "with a space.txt", "çé 字.txt"])
def test_a_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes("Zeile eins\r\n\r\nзwei\ttab\u2028字🙂 ".encode())
    source = open_source(str(path))
    check(source, "Zeile eins\r\n\r\nзwei\ttab\u2028字🙂 ")
    assert source.name == str(path)


def test_a_file_larger_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 7)
    path = tmp_path / "a.txt"
    text = "ein\tWort,\t字字字字字字字字字🙂🙂🙂 und\x1cnoch\r eins\n" * 9
    path.write_bytes(text.encode())
    source = open_source(str(path))
    check(source, text)
    for chunk in list(source.chunks())[:-1]:
        assert not chunk[-1].isspace()
    for chunk in list(source.chunks())[1:]:
        assert chunk[0] in " \n"


@pytest.mark.parametrize("text", ["字" * 700_000, "x" * 3_000_000, " " * 2_500_000])
def test_text_without_a_place_to_cut_is_cut_all_the_same(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    source = open_source(str(path))
    assert text_of(source) == text
    assert max(map(len, source.chunks())) <= 2 << 20


def test_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name, raw in {
        "b.txt": b"last\n",
        "a.txt": b"first",
        "b/c.md": "zwölf".encode(),
        "picture.png": b"\x89PNG\0\0",
        "latin.txt": "zwölf".encode("latin-1"),
        "empty.txt": b"",
        ".hidden": b"hidden",
        ".git/config": b"hidden",
    }.items():
        (tmp_path / name).write_bytes(raw)
    source = open_source(str(tmp_path))
    check(source, "first\nzwölf\nlast\n")
    assert [Path(name).name for name in source.skipped] == ["latin.txt", "picture.png"]


def test_several(tmp_path):
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    (tmp_path / "b.txt").write_text("two", encoding="utf-8")
    source = open_source([str(tmp_path / "b.txt"), str(tmp_path / "a.txt")])
    check(source, "two\none")
    assert source.name == f"{tmp_path / 'b.txt'}, {tmp_path / 'a.txt'}"


@pytest.mark.parametrize("in_memory", [1 << 20, 4])
def test_standard_input(monkeypatch, in_memory):
    monkeypatch.setattr(reading, "SPOOL_IN_MEMORY", in_memory)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("grüße\r\n".encode())))
    source = open_source("-")
    check(source, "grüße\r\n")
    assert source.name == "standard input"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_once_and_kept(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"through a pipe",))
    writer.start()
    source = open_source(str(path))
    writer.join()
    check(source, "through a pipe")


def test_built_in_topics():
    source = open_source("topics")
    check(source, "".join(topics[key] + "\n\n" for key in sorted(topics)))
    assert source.name == "topics"


def test_text_made_by_a_program():
    check(text_source("made", lambda: (word for word in ["eins ", "zwei"])), "eins zwei")
    with pytest.raises(WhenceError, match="made is empty"):
        text_source("made", list)


def test_text_that_changes_after_it_was_opened(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before", encoding="utf-8")
    source = open_source(str(path))
    path.write_text("after", encoding="utf-8")
    with pytest.raises(WhenceError, match="changed while it was being read"):
        text_of(source)
    path.unlink()
    with pytest.raises(WhenceError, match="can't be read"):
        text_of(source)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty: give a file with text"),
        (b"text\0more", "is binary, not text .a zero byte at offset 4."),
        (b"abc\xffdef", "is not UTF-8: byte 0xff at offset 3 "),
        (b"abcdefghij\xc3", "is not UTF-8: byte 0xc3 at offset 10 .*unexpected end"),
        (b"12345\xe5\xad(", "is not UTF-8: byte 0xe5 at offset 5 "),
        ("\ufeffabc".encode("utf-16-le"), "is UTF-16 text: save it as UTF-8"),
    ],
)
def test_files_that_are_no_text(tmp_path, monkeypatch, raw, message):
    monkeypatch.setattr(reading, "BLOCK", 7)
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(WhenceError, match=message) as caught:
        open_source(str(path))
    assert str(path) in str(caught.value)


def test_missing():
    with pytest.raises(WhenceError, match=r"'no/such.txt' doesn't exist: give a text file, a fold"):
        open_source("no/such.txt")
    with pytest.raises(WhenceError, match="Did you mean the built-in text 'topics'"):
        open_source("topic")
    for nothing in ("", []):
        with pytest.raises(WhenceError, match="No text was named"):
            open_source(nothing)
    with pytest.raises(WhenceError, match="can't be read"):
        open_source("zero\0byte")


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    with pytest.raises(WhenceError, match="doesn't exist"):
        open_source(str(tmp_path / "a.txt" / "b.txt"))


def test_a_folder_without_text(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\0")
    with pytest.raises(WhenceError, match="contains no text: put UTF-8 text files"):
        open_source(str(tmp_path))


def test_an_empty_one_among_several(tmp_path):
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    (tmp_path / "b.txt").write_text("", encoding="utf-8")
    with pytest.raises(WhenceError, match=r"b\.txt is empty"):
        open_source([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])


def test_unreadable(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.txt"
    path.write_text("text", encoding="utf-8")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WhenceError, match=r"a\.txt can't be read \(Permission denied\)"):
        open_source(str(path))
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(WhenceError, match=r"can't be read \(Permission denied\)"):
        open_source(str(tmp_path))
