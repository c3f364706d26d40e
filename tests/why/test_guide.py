"""The guide's code runs as it is printed."""

import re
from pathlib import Path


def test_the_guide_runs(capsys):
    guide = Path(__file__).resolve().parents[2] / "docs" / "guide" / "why.md"
    code = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(code), {})
    printed = capsys.readouterr().out
    for words in ("'we' at position 1", "gradient", "relative error", "0 wrong"):
        assert words in printed
