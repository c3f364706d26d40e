"""Every command that a guide shows is one that the command line takes; its Python runs.

`tests/test_readme.py` and the tests beside some guides do what those pages show; here the words of
all of them are read, so that no flag or verb can be renamed behind a page's back.
"""

import functools
import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence
from whence.cli import OWN_WORDS, VERBS
from whence.cli.training.recipes import parse_training
from whence.cli.words import parse, without

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs/guide").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    found = rf"^```{language}\n(.*?)^```"
    return re.findall(found, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The words after `whence`, or after `python -m whence`, of each line of a page's blocks."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = (re.search(r"(?:^| -m )whence (.*)", line) for line in text.splitlines())
    return [shlex.split(found[1], comments=True) for found in lines if found]


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("my.txt", "other.txt", "notes.jsonl"):
        (tmp_path / name).write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_command_line_takes_what_a_page_shows(page, desk):
    for verb, *words in commands(page):
        assert verb in VERBS or verb.startswith("-"), verb
        if verb not in VERBS or {"--help", "-h", "|"} & {*words}:
            continue
        if verb in ("train", "plan"):
            flags = without(words, "--from", "--on", "--memory", "--seconds")
            assert parse_training(flags).text or "--from" in words
        elif verb not in OWN_WORDS:
            module, _, name = VERBS[verb][0].partition(":")
            function = getattr(importlib.import_module(f"whence.cli.{module}"), name)
            parse(_not_done(function), words, f"whence {verb}")


def _not_done(function):
    """The same signature and help, and nothing done."""

    @functools.wraps(function)
    def nothing(*args: object, **options: object) -> None:
        pass

    return nothing


def test_commands_are_found():
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) >= 80
    assert {"train", "why", "doctor", "serve", "plan"} <= {words[0] for words in found}


@pytest.mark.parametrize("name", ["ask", "notebooks", "scalar"])
def test_the_python_of_a_page_runs(name, desk):
    size = ["--model.n-layers", 1, "--model.d-model", 16, *TINY[6:]]
    if name != "scalar":
        pytest.importorskip("anywidget")
        assert whence("train", "my.txt", "--out", "runs/mine", "--steps", 4, *size) == 0
    known: dict[str, object] = {}
    for block in blocks(ROOT / f"docs/guide/{name}.md", "python"):
        if "jit(loss_of_one" in block:  # its losses are the reader's own
            compile(block, name, "exec")
            continue
        block = block.replace("step=120", "step=2").replace("The value of it is", "the cat")
        block = block.replace("The cat sat.", "the cat sat.").replace("Once upon", "the")
        if "run" not in known and "attention(run" in block:
            exec("from whence import Run\nrun = Run.open('runs/mine')", known)
        exec(block, known)


def test_the_files_that_pages_name_are_there():
    """Every `folder/file.py` of a page, below the root, `src/whence` or a package's own folder."""
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs/decisions").glob("*.md")]
    source = [*(ROOT / "src/whence").rglob("*.py"), *(ROOT / "src/whence").rglob("*.js")]
    there = [path.relative_to(ROOT).as_posix() for path in source]
    gone = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|js))`", text):
            ours = any(path.endswith(f"/{name}") or path == name for path in there)
            if not ours and not (ROOT / name).is_file() and page.stem != "add-model":
                gone.append(f"{page.name}: {name}")
    assert gone == []
