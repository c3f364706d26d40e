"""Every line of Python that a view offers to copy runs as it stands, in a process of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whence.studio.answers import ANSWERS, answer

TURN = [{"role": "user", "content": "9"}]
QUESTIONS = {
    "runs": {},
    "form": {},
    "recipe": {"source": "topics", "model": "bigram", "settings": {"steps": 1}},
    "compare": {"a": "one", "b": "two"},
    "live": {"run": "one"},
    "points": {"run": "one", "last": 5},
    "doctor": {"run": "one"},
    "play": {},
    "step": {"run": "one", "step": 3},
    "strip": {"run": "one", "text": "99 bottles"},
    "prediction": {"run": "one", "prompt": "99 bott"},
    "chat": {"run": "one", "messages": TURN, "max_tokens": 3},
    "spoken": {"run": "one", "messages": TURN, "token": 2, "max_tokens": 3},
    "flow": {"run": "one", "step": 3},
    "cell": {"run": "one", "step": 3, "address": "head.weight[3,7]"},
    "matrix": {"run": "one", "step": 3, "name": "head.weight"},
    "receipt": {"run": "one", "step": 3, "address": "head.weight[3,7]"},
    "attribution": {"run": "one", "step": 3, "address": "head.weight[3,7].update", "by": "token"},
    "names": {"run": "one", "step": 3, "part": "head"},
}
# The journey's line plays a whole lesson, which the lessons' own tests do.
ELSEWHERE = {"journey", "running", "places", "tracing"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_run) -> Path:
    path = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        shutil.copytree(tiny_run, path / name)
    return path


def test_every_view_is_asked():
    assert set(QUESTIONS) | ELSEWHERE == set(ANSWERS)


def test_every_line_of_python_runs(folder):
    lines = {name: answer(name, given, folder)["python"] for name, given in QUESTIONS.items()}
    program = "\n".join(f"print({name!r})\nexec({line!r}, {{}})" for name, line in lines.items())
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout[-200:]}\n{done.stderr[-2000:]}"
