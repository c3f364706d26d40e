"""Tests run in a fork of this process until one fails: PyTorch is loaded only once for all."""

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[2]
HANGS = 60  # seconds after which a test fails
PRELOADED = """torch scipy.stats hypothesis numba llvmlite.binding safetensors.torch tokenizers
    tiktoken rich.console rich.table tyro starlette.applications
    transformers.models.llama.modeling_llama transformers.generation.utils"""


class Order:
    """A pytest plugin: these tests in this order, and a note of the one that is running."""

    def __init__(self, wanted: list[str], unwanted: set[str], note: Path) -> None:
        self.rank = {name: i for i, name in enumerate(wanted)}
        self.unwanted, self.note = unwanted, note

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out what isn't wanted."""
        items[:] = [item for item in items if item.nodeid not in self.unwanted]
        if self.rank:
            items[:] = [item for item in items if item.nodeid in self.rank]
            items.sort(key=lambda item: self.rank[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note the test that begins."""
        self.note.write_text(nodeid, encoding="utf-8")

    def pytest_collectreport(self, report: Any) -> None:
        """Note the file that can't be imported."""
        if report.failed:
            self.note.write_text(report.nodeid, encoding="utf-8")


def preload() -> None:
    """Load what tests need and no fault changes."""
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as tests/conftest.py does, before PyTorch
    for name in PRELOADED.split():
        with suppress(ImportError):
            __import__(name)


def trial(
    root: Path, files: list[str], wanted: list[str], unwanted: set[str], seconds: float
) -> tuple[str, str]:
    """Run tests of these files, all or those wanted; give how it ended and the last test begun.

    It ended as "passed", "failed" or "time is up".
    """
    place = Path(tempfile.mkdtemp(prefix="trial-"))
    child = os.fork()
    if child == 0:
        _run(root, files, Order(wanted, unwanted, place / "note"), place)
    ended, until = "time is up", time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            nothing = pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED
            ended = "passed" if os.waitstatus_to_exitcode(status) in nothing else "failed"
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if ended == "time is up":
        os.waitpid(child, 0)
    note = place / "note"
    last = note.read_text(encoding="utf-8") if note.exists() else ""
    shutil.rmtree(place, ignore_errors=True)
    return ended, last


def _run(root: Path, files: list[str], order: Order, place: Path) -> NoReturn:
    code = 3
    try:
        os.setsid()
        out = os.open(place / "out", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(out, stream)
        os.chdir(root)
        os.environ |= {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "TMPDIR": str(place)}
        tempfile.tempdir = None
        ours = {"", str(ROOT), str(ROOT / "src")}
        sys.path[:] = [str(root / "src"), str(root), *(p for p in sys.path if p not in ours)]
        for name in [n for n in sys.modules if n.split(".")[0] == "tests"]:
            del sys.modules[name]
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was preloaded
        code = int(pytest.main([*options, "--timeout", str(HANGS), *files], plugins=[order]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
