"""The guide's code runs as it is printed."""

import re
from pathlib import Path

from whence.runs.run import Run
from whence.train import optimizers

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "training.md"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("A text of one's own, a few words long. " * 200)
    [code] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace("steps=100", "steps=3")
    try:
        exec(code, {"__name__": "guide"})
        run = Run.open(tmp_path / "runs" / "my-1")
    finally:
        optimizers.OPTIMIZERS.pop("signsgd", None)
    assert len(run.steps) == 3
    assert all(record["own"]["norm"] > 0 for record in run.evals)
    assert "Ended" in capsys.readouterr().out
