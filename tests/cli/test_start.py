"""What computes nothing loads no PyTorch, which takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whence.cli import VERBS

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = """
import sys
from whence.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
"""


def modules(program: str, *words: object, whole: bool = False) -> set[str]:
    """Run a program in a process of its own; give the packages that it loaded, or all modules."""
    name = "name" if whole else "name.partition('.')[0]"
    told = program + f"\nprint('loaded', *{{{name} for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", told, *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


HEAVY = {"torch", "numba", "scipy", "transformers", "jinja2", "starlette", "uvicorn", "plotly"}


# What every command line waits for needs none of these either, each of which takes a tenth of it.
SLOW = {"numpy", "tokenizers", "tiktoken", "psutil"}


@pytest.mark.parametrize(
    "words", [["--help"], ["runs"], ["runs", "--json"], ["train", "--help"]], ids=" ".join
)
def test_a_command_that_is_typed_often(words, tmp_path):
    assert not SLOW & modules(COMMAND, *words)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["runs"],
        ["runs", "--json"],
        ["train", "--help", "all"],
        ["train", "--help", "model"],
        ["help", "train"],
        ["runs", "remove", "--help"],
        ["journey", "--list"],
        *([verb, "--help"] for verb in VERBS),
    ],
    ids=" ".join,
)
def test_a_command_that_computes_nothing(words, tmp_path):
    assert not HEAVY & modules(COMMAND, *words)


def test_a_list_of_runs(tmp_path):
    from tests.runs.tiny import finish, make

    finish(make(tmp_path / "one", steps=2))
    assert not (HEAVY | SLOW) & modules(COMMAND, "runs", "--folder", tmp_path)


def test_the_first_token_needs_no_compiler(tmp_path):
    from tests.runs.tiny import RUNGS, finish, make

    for name in ("gpt", "rnn"):  # each way that weights are drawn
        finish(make(tmp_path / name, RUNGS[name], steps=2))
        loaded = modules(COMMAND, "generate", tmp_path / name, "9", "--max-tokens", 1, whole=True)
        assert not {"torch._dynamo", "torch._inductor", "sympy", "transformers"} & loaded
        assert "torch" in loaded


def test_the_names_to_begin_with():
    program = "import sys\nfrom whence import Data, GPTConfig, Recipe, Run, Value, list_runs"
    assert not (HEAVY | SLOW) & modules(program)
