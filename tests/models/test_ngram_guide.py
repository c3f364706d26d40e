import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "ngrams.md"


def test_the_guide_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    exec("\n".join(blocks), {})
    assert "bits per byte above the best possible" in capsys.readouterr().out
