"""The public names: there, documented, and their examples run."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import whence

MODULES = [m.name for m in pkgutil.walk_packages(whence.__path__, "whence.")]


@pytest.mark.parametrize("name", whence.__all__)
def test_public_name_is_documented(name):
    assert getattr(whence, name).__doc__.strip()


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Valve'"):
        whence.Valve  # noqa: B018  # looking it up is what is tested


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_light_names_need_no_torch():
    code = "import sys; from whence import Value; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
