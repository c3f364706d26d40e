"""A text is cut into tokens once on a machine: what is kept is the same, whole, and may be lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken

from tests.cli.command import whence
from whence.data import prepare, text_source, train_tokenizer
from whence.data.texts import cutting, kept
from whence.data.texts.sources import open_source
from whence.data.tokenizers.bpe import PATTERN

SRC = Path(__file__).parents[2] / "src"
LINES = "".join(
    f"{i} bottles of beer on the wall, {i * i} bottles of beer.\n" for i in range(24_000)
)
SOURCE = text_source("bottles", lambda: [LINES])


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A place of one's own for what is kept."""
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def never(monkeypatch):
    """From here on a text that is cut into tokens is an error."""

    def now():
        monkeypatch.setattr(cutting, "_cut", lambda *_: pytest.fail("the text was cut again"))

    return now


def files(folder: Path) -> list[bytes]:
    names = ("tokens.bin", "tokenizer.json", "tokens.json")
    return [(folder / name).read_bytes() for name in names]


@pytest.mark.parametrize("kind", ["chars", "bytes", "words", "bpe"])
def test_a_second_run_takes_the_tokens_of_the_first(kind, tmp_path, never):
    first = prepare(SOURCE, kind, None, 0.1, tmp_path / "a")
    never()
    again = text_source("another name", lambda: [LINES])
    second = prepare(again, kind, None, 0.1, tmp_path / "b")
    assert second.source == "another name"
    assert files(tmp_path / "a")[:2] == files(tmp_path / "b")[:2]
    assert len(first.train) == len(second.train)


def test_what_is_kept_are_the_tokens_that_another_library_gives(tmp_path, never):
    prepare(SOURCE, "bpe", 300, 0, tmp_path / "a")
    never()
    dataset = prepare(SOURCE, "bpe", 300, 0, tmp_path / "b")
    ranks = {raw: number for number, raw in enumerate(dataset.tokenizer.table)}  # type: ignore
    theirs = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert dataset.train.tolist() == theirs.encode(LINES)


def test_what_else_is_asked_for_is_made_anew(tmp_path, home):
    other = text_source("other", lambda: [LINES, "!"])
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "a")
    prepare(SOURCE, "chars", None, 0.2, tmp_path / "b")
    prepare(SOURCE, "bytes", None, 0.1, tmp_path / "c")
    prepare(other, "chars", None, 0.1, tmp_path / "d")
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "e", validation_source=other)
    tokenizer = train_tokenizer("chars", lambda: [LINES, "xyz?"])
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "f", tokenizer)
    assert len(list(home.glob("*/entry.json"))) == 6


def test_a_small_text_is_not_kept(tmp_path, home):
    prepare(text_source("small", lambda: ["a small text"]), "chars", None, 0.1, tmp_path / "a")
    assert not home.exists()


def _cut_short(entry: Path):
    raw = (entry / "tokens.bin").read_bytes()
    (entry / "tokens.bin").unlink()  # it is the first run's file, too
    (entry / "tokens.bin").write_bytes(raw[:-5])


def _other_byte(entry: Path):
    raw = bytearray((entry / "tokens.bin").read_bytes())
    raw[1000] ^= 1
    (entry / "tokens.bin").unlink()
    (entry / "tokens.bin").write_bytes(raw)


DAMAGE = {
    "cut short": _cut_short,
    "another byte": _other_byte,
    "a file is gone": lambda entry: (entry / "tokenizer.json").unlink(),
    "nothing noted": lambda entry: (entry / "entry.json").write_text(""),
    "no object": lambda entry: (entry / "entry.json").write_text("[1, 2]"),
    "half noted": lambda entry: (entry / "entry.json").write_text('{"sha256": {}}'),
    "a folder": lambda entry: ((entry / "tokens.bin").unlink(), (entry / "tokens.bin").mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_anew(damage, tmp_path, home):
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "a")
    [entry] = home.glob("*")
    DAMAGE[damage](entry)
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "b")
    assert files(tmp_path / "b") == files(tmp_path / "a")
    prepare(SOURCE, "chars", None, 0.1, tmp_path / "c")
    assert files(tmp_path / "c") == files(tmp_path / "a")


def test_several_processes_at_once(tmp_path, home):
    (tmp_path / "my.txt").write_text(LINES)
    program = (
        "import sys; from pathlib import Path; from whence.data import open_source, prepare\n"
        "for i in range(3): prepare(open_source(sys.argv[1]), 'words', None, 0.1,"
        " Path(sys.argv[2] + str(i)))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "my.txt")]
    running = [
        subprocess.Popen(
            [*words, str(tmp_path / f"run{n}-")], env={**os.environ, "PYTHONPATH": str(SRC)}
        )
        for n in range(4)
    ]
    assert [process.wait(timeout=240) for process in running] == [0] * 4
    made = [files(tmp_path / f"run{n}-{i}") for n in range(4) for i in range(3)]
    assert all(one == made[0] for one in made)
    assert len(list(home.iterdir())) == 1  # one entry, and no beginnings of others


def test_where_nothing_can_be_kept_nothing_changes(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "file" / "kept"))
    for name in "ab":
        assert len(prepare(SOURCE, "chars", None, 0.1, tmp_path / name).train) > 1_000_000


def test_what_was_not_used_lately_goes_first(tmp_path, home, monkeypatch):
    for number in range(3):
        source = text_source("text", lambda number=number: [LINES, str(number)])
        prepare(source, "chars", None, 0.1, tmp_path / str(number))
        (tmp_path / str(number) / "tokens.bin").unlink()  # so that all of it is the entry's
        [newest] = [e for e in home.iterdir() if e.stat().st_mtime > 1e9]
        os.utime(newest, (number, number))
        monkeypatch.setattr(kept, "MOST", 3_300_000)
    left = sorted(home.iterdir(), key=lambda entry: entry.stat().st_mtime)
    assert len(left) == 2
    monkeypatch.setattr(kept, "MOST", 1)
    kept._let_go(home)  # the newest stays, however large
    assert list(home.iterdir()) == left[1:]


def test_the_list_of_runs_says_what_is_kept_and_how_to_free_it(tmp_path, home, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whence("runs") == 0
    assert "kept" not in capsys.readouterr().out
    (tmp_path / "my.txt").write_text(LINES)
    words = ["--model", "bigram", "--steps", 1, "--record.evaluate-tokens", 100]
    assert whence("train", "my.txt", *words, "--record.sample-tokens", 0) == 0
    capsys.readouterr()
    assert whence("runs") == 0
    out = capsys.readouterr().out
    assert str(home) in out
    assert "whence runs clear-cache" in out
    assert whence("runs", "--json") == 0
    size = json.loads(capsys.readouterr().out)["kept_tokens"]["disk"]
    assert size == kept.kept_bytes() > 500_000
    assert whence("runs", "clear-cache") == 0
    assert "freed" in capsys.readouterr().out
    assert list(home.iterdir()) == []
    assert whence("evaluate", "runs/my-1", "my.txt", "--checkpoint", "0") == 0


def test_how_far_it_is_is_told_with_the_time_left(tmp_path, capsys, monkeypatch):
    from whence.cli.training import preparing

    told: list[tuple[str, int, int]] = []
    (tmp_path / "my.txt").write_text(LINES)
    source = open_source(str(tmp_path / "my.txt"))
    prepare(source, "bpe", 300, 0.1, tmp_path / "a", each=lambda *args: told.append(args))
    for stage in ("learning the tokens", "cutting the text into tokens"):
        dones = [done for what, done, _ in told if what == stage]
        assert dones == sorted(dones)
        assert len(dones) > 5
    assert {total for _, _, total in told} == {len(LINES)}
    monkeypatch.setattr(preparing, "PATIENCE", 0)
    monkeypatch.setattr(preparing, "PAUSE", 0)
    (tmp_path / "my.txt").write_text(LINES + "more")
    words = ["--model", "bigram", "--steps", 1, "--record.evaluate-tokens", 100]
    words += ["--record.sample-tokens", 0, "--out", tmp_path / "run"]
    assert whence("train", tmp_path / "my.txt", *words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert any("cutting the text into tokens" in line and "s left" in line for line in lines)


def test_a_stop_while_it_is_cut_leaves_nothing(tmp_path, home):
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("cutting") and done:
            raise KeyboardInterrupt

    (tmp_path / "my.txt").write_text(LINES)
    with pytest.raises(KeyboardInterrupt):
        prepare(open_source(str(tmp_path / "my.txt")), "chars", None, 0, tmp_path / "a", each=stop)
    assert not (tmp_path / "a" / "tokens.json").exists()
    assert not home.exists()
