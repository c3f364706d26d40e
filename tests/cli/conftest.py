"""A tiny run, trained once, that the tests of the verbs share."""

from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """A file of text, in a folder with a space in its name."""
    path = tmp_path_factory.mktemp("some text") / "cats and dogs.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(text_file) -> Path:
    """The folder of a finished run."""
    path = text_file.parent / "trained"
    assert whence("train", text_file, "--out", path, "--steps", 40, *TINY) == 0
    return path
