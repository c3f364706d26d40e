"""Calls of the command line from tests."""

import os
import subprocess
import sys
from pathlib import Path

from whence.cli import main

SOURCE = Path(__file__).parents[2] / "src"

TINY = [
    *("--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16"),
    *("--model.context-length", "16", "--batch-size", "8"),
    *("--hardware.precision", "fp32", "--hardware.threads", "1"),
]
TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 60


def whence(*words: object) -> int:
    """Run a command; give its exit code."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:  # tyro ends so after --help
        return int(stop.code or 0)


def start(*words: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "whence", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1"},
    )
