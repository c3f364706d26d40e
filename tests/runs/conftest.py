"""One finished run that tests read and don't change."""

import shutil
from pathlib import Path

import pytest

from tests.runs.tiny import finish, make
from whence.runs.run import Run


@pytest.fixture(scope="session")
def whole_path(tmp_path_factory) -> Path:
    """The folder of a finished run of 20 steps, a checkpoint at 5, 10, 15 and 20."""
    path = tmp_path_factory.mktemp("runs with space") / "whole"
    finish(make(path))
    return path


@pytest.fixture
def whole(whole_path) -> Run:
    """That run, to read."""
    return Run.open(whole_path)


@pytest.fixture
def own(whole_path, tmp_path) -> Run:
    """A copy of that run, to damage."""
    return Run.open(shutil.copytree(whole_path, tmp_path / "own"))
