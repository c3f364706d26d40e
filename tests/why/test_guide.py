"""The guide's code runs as it is printed."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import whence.why


def test_the_guide_runs(capsys):
    guide = Path(__file__).resolve().parents[2] / "docs" / "guide" / "why.md"
    code = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(code), {})
    printed = capsys.readouterr().out
    for words in ("'we' at position 1", "gradient", "relative error", "0 wrong"):
        assert words in printed


def test_the_examples_in_the_docstrings_run():
    for module in pkgutil.walk_packages(whence.why.__path__, "whence.why."):
        failed, _ = doctest.testmod(importlib.import_module(module.name))
        assert not failed, module.name
