"""The guide's code runs as it is printed."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "watch.md"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(code), {"__name__": "guide"})
    printed, said = capsys.readouterr()
    for words in (
        "head.weight[3,7].update",
        "multiplied by",
        "G.weight[0,1].update",
        "was inf before any operation",
        "inf\n",
    ):
        assert words in printed, words
    assert "the last 32 steps stay in memory" in said
    assert "runs/bad/crashes/000003/report.md" in said
