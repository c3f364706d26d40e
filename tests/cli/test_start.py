"""What computes nothing loads no PyTorch, which takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

from whence.cli import VERBS

SOURCE = Path(__file__).parents[2] / "src"
HEAVY = {"torch", "numba", "scipy", "transformers", "jinja2", "starlette", "uvicorn", "plotly"}
# What every command line waits for needs none of these either, each of which takes a tenth of it.
SLOW = {"numpy", "tokenizers", "tiktoken", "psutil"}
COMMANDS = """
import json, sys
from whence.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit:
        pass
    print("\\nloaded", *sys.modules)
"""


def modules(program: str, *words: str) -> list[set[str]]:
    """Run a program in a process of its own; give all that is loaded each time it says so."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [set(line.split()[1:]) for line in lines if line.startswith("loaded ")]


def after(*commands: list[str]) -> dict[str, set[str]]:
    """What is loaded behind each of some commands that one process does: its own, and more."""
    found = modules(COMMANDS, json.dumps(commands))
    return dict(zip(map(" ".join, commands), found, strict=True))


def test_commands_that_are_typed_often():
    commands = ["--help"], ["runs"], ["runs", "--json"], ["train", "--help"]
    for command, loaded in after(*commands).items():
        assert not (HEAVY | SLOW) & loaded, command


def test_commands_that_compute_nothing():
    commands = (
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
    )
    for command, loaded in after(*commands).items():
        assert not HEAVY & loaded, command


def test_a_list_of_runs(tmp_path):
    from tests.runs.tiny import finish, make

    finish(make(tmp_path / "one", steps=2))
    [loaded] = after(["runs", "--folder", str(tmp_path)]).values()
    assert not (HEAVY | SLOW) & loaded


def test_the_first_token_needs_no_compiler(tmp_path):
    from tests.runs.tiny import RUNGS, finish, make

    kinds = ("gpt", "rnn")  # each way that weights are drawn
    for name in kinds:
        finish(make(tmp_path / name, RUNGS[name], steps=2))
    generate = (["generate", str(tmp_path / name), "9", "--max-tokens", "1"] for name in kinds)
    for loaded in after(*generate).values():
        assert not {"torch._dynamo", "torch._inductor", "sympy", "transformers"} & loaded
        assert "torch" in loaded


def test_the_names_to_begin_with():
    names = "Data, GPTConfig, Recipe, Run, Value, list_runs"
    [loaded] = modules(f"import sys\nfrom whence import {names}\nprint('loaded', *sys.modules)")
    assert not (HEAVY | SLOW) & loaded
