"""The guide's page on the doctor: it names every rule, and its code runs as it is printed."""

import re
from pathlib import Path

from whence.doctor import RULES
from whence.doctor.rules import THEMES

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "guide" / "doctor.md").read_text(encoding="utf-8")


def test_every_rule_stands_there_with_what_it_finds_its_looks_and_its_source():
    rows = {cells[1]: cells[2:-1] for line in GUIDE.splitlines()
            if len(cells := re.split(r" ?\| ?", line)) == 6}  # fmt: skip
    for rule in RULES:
        about, looks, source = rows[f"`{rule.name}`"]
        assert (about, source) == (rule.about, rule.source.replace("|", "∣"))
        assert looks.endswith("."), rule.name


def test_its_pictures_are_there():
    for picture in re.findall(r"\.\./images/([\w-]+\.svg)", GUIDE):
        assert (DOCS / "images" / picture).is_file(), picture
    assert GUIDE.count("../images/doctor-") >= len(THEMES) - 1


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec("\n".join(blocks[1:]), {"__name__": "guide"})  # the first wants a run of the reader's
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "gradients-not-cleared"
    assert "loss-is-odd" in printed[1] or "gradients-not-cleared" in printed[1]
