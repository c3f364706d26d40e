"""The public names: there, documented, and their examples run."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import whence
from whence import Data, GPTConfig, Recipe, Run
from whence.data import text_source
from whence.watch import watch

MODULES = [m.name for m in pkgutil.walk_packages(whence.__path__, "whence.")]


@pytest.mark.parametrize("name", whence.__all__)
def test_public_name_is_documented(name):
    assert getattr(whence, name).__doc__.strip()


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Valve'"):
        whence.Valve  # noqa: B018  # looking it up is what is tested


class Examples(doctest.DocTestFinder):
    """Also finds those of decorated functions, which doctest holds for another module's."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object))


@pytest.fixture(scope="session")
def desk(tmp_path_factory) -> Path:
    """The folder in which the examples run, with what they name: runs/mine and runs/watched."""
    desk = tmp_path_factory.mktemp("desk")
    text = text_source("topics", lambda: ["we love deep learning, and cats on mats.\n" * 60])
    tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
    run = Run.create(Recipe(Data(), tiny, steps=6, batch_size=4), desk / "runs/mine", text)
    assert list(run.train())
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    quiet = {"keep": "all", "tell": lambda sentence: None}
    with watch(net, optimizer, desk / "runs/watched", **quiet) as recorder:
        for _ in range(4):
            loss = net(torch.ones(4, 2)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.log(loss=loss)
        recorder.dump()
    return desk


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_examples_run(name, request, monkeypatch):
    module = importlib.import_module(name)
    found = Examples().find(module, name)
    if any("runs/" in example.source for test in found for example in test.examples):
        monkeypatch.chdir(request.getfixturevalue("desk"))
    runner = doctest.DocTestRunner()
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_light_names_need_no_torch():
    code = "import sys; from whence import Value; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
