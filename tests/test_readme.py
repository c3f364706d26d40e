"""The README's commands and code do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command import TEXT, TINY, whence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REWIND = (ROOT / "docs/guide/rewind.md").read_text(encoding="utf-8")


# What a training is given in place of what a page says, or besides it.
SMALL = {"--steps": "4", "--record.sample-tokens": "5", "--model.n-layers": "1"}
SMALL |= zip(TINY[2::2], TINY[3::2], strict=True)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("Once upon a time\n" + TEXT)
    (tmp_path / "other.txt").write_text("Once upon a time the cat sat on the log.\n")
    return tmp_path


def follow(text: str, capsys) -> int:
    """Run each `whence` line, in order: fewer steps and tokens, a smaller model; give how many."""
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("whence")]
    smaller = {
        "--step": "3",
        "--steps": "6",
        "--checkpoint": "3",
        "--skip-batch": "3",
        "--without": "cat",
    }
    for words in commands:
        if words[0] == "train":
            for flag, value in SMALL.items():
                if flag in words:
                    words[words.index(flag) + 1] = value
                else:
                    words += [flag, value]
        elif words[0] == "generate":
            words += ["--max-tokens", "20"]
        for flag, value in smaller.items():
            if flag in words and words[0] != "train":
                words[words.index(flag) + 1] = value
        assert whence(*words) == 0, (words, capsys.readouterr().err)
    return len(commands)


def test_commands(desk, capsys):
    assert follow(README, capsys) >= 10


def test_commands_of_the_guide_to_rewinding(desk, capsys):
    size = ["--model.n-layers", 1, "--model.d-model", 16, *TINY[6:], "--record.sample-tokens", 5]
    assert whence("train", "my.txt", "--out", "runs/mine", "--steps", 6, *size) == 0
    assert follow(REWIND.replace("whence resume runs/mine\n", ""), capsys) >= 9


def test_python(desk):
    for code in blocks("python"):
        exec(code.replace("steps=200", "steps=3"), {})


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for path in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / path).exists(), path


FIGURE = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def same(shown: str, printed: str) -> None:
    """Line by line the same words; figures may differ as versions of torch let them."""
    expected = shown.split("    …\n")[0].splitlines()
    for said, line in zip(expected, printed.splitlines(), strict=False):
        words = [re.sub(r"[█▏▎▍▌▋▊▉ ]+", " ", FIGURE.sub("#", text)) for text in (said, line)]
        assert words[0] == words[1]
        for a, b in zip(FIGURE.findall(said), FIGURE.findall(line), strict=True):
            if "residual" not in said and "rounding" not in said:
                assert float(a.replace(",", "")) == pytest.approx(
                    float(b.replace(",", "")), rel=0.02
                )


def test_the_receipt_it_shows_is_what_python_prints(desk, capsys):
    code = blocks("python")[0]
    (shown,) = re.findall(re.escape(code) + r"```\n\n```\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    same(shown, capsys.readouterr().out)


def test_the_receipt_it_shows_is_what_the_command_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = ["--model.n-layers", 2, "--model.d-model", 64, "--model.context-length", 64]
    small = ["--batch-size", 16, "--hardware.precision", "fp32", "--steps", 32]
    assert whence("train", "topics", "--out", "runs/mine", *size, *small) == 0
    capsys.readouterr()
    command = next(line for line in README.splitlines() if line.startswith("whence why runs/mine"))
    assert whence(*shlex.split(command, comments=True)[1:]) == 0
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"The first command, for a small run.*?```\n(.*?)```", README, re.DOTALL)
    # The built-in text is that of the reader's Python, so only the words are compared.
    plain = lambda text: [re.sub(r"[█▏▎▍▌▋▊▉ ]+", " ", FIGURE.sub("#", line))  # noqa: E731
                          for line in text.splitlines()]  # fmt: skip
    kind = lambda line: re.sub(r"(# % this step's gradient|# % momentum)", "# % part", line)  # noqa: E731
    ours, theirs = ([kind(line) for line in plain(text)] for text in (shown, printed))
    assert len(ours) == len(theirs)
    assert ours[:8] == theirs[:8]
    assert {line.partition(" = ")[0] for line in ours[8:10]} == {
        line.partition(" = ")[0] for line in theirs[8:10]
    }
