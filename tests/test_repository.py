"""What is said in several places agrees: dependencies, verbs, benchmarks, folders."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from benchmarks.__main__ import names
from whence.cli import GROUPS, VERBS, _help

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project_dependencies() -> list[str]:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return sorted({re.split(r"[<>=!~\[; ]", word)[0] for words in lists for word in words})


@pytest.mark.parametrize("name", project_dependencies())
def test_a_dependency_is_explained_and_pinned(name):
    assert f"`{name}`" in read("docs/decisions/001-dependencies.md")
    assert re.search(rf"^{re.escape(name)}==\S+$", read("constraints.txt"), re.MULTILINE)


def test_nothing_else_is_pinned():
    pins = re.findall(r"^([\w.-]+)==", read("constraints.txt"), re.MULTILINE)
    assert sorted(pins) == project_dependencies()


def test_the_table_of_verbs_in_the_readme_is_that_of_the_help():
    section = read("README.md").partition("## All commands")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (`.*`) \|$", section, re.MULTILINE)
    table = {purpose: re.findall(r"`([^`]+)`", verbs) for purpose, verbs in rows}
    assert table == {purpose: list(verbs) for purpose, verbs in GROUPS.items()}


def test_the_help_has_each_verb_once_under_its_purpose():
    purpose, found = "", {}
    for line in _help().partition("usage:")[2].splitlines()[1:-1]:
        if line.startswith("  "):
            assert line.split()[0] not in found
            found[line.split()[0]] = purpose
        elif line:
            purpose = line
    assert found == {verb: purpose for purpose, verbs in GROUPS.items() for verb in verbs}
    assert list(found) == list(VERBS)
    assert max(map(len, _help().splitlines())) <= 80


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_every_benchmark_that_times_something_is_run():
    timed = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if path.stem != "timing" and imported(path) & {"time", "benchmarks.timing"}
    }
    assert timed
    assert timed <= set(names())


def test_every_folder_has_a_place_in_the_table():
    table = read("CONTRIBUTING.md")
    folders = [p for p in (ROOT / "src/whence").iterdir() if (p / "__init__.py").exists()]
    assert folders
    for path in [*folders, ROOT / "lessons"]:
        assert f"| `{path.relative_to(ROOT).as_posix()}/` |" in table, path


def test_modules_are_named_in_strings_in_the_lazy_tables_alone():
    """A string hides an import from the checks of layers and circles."""
    lazy = {"__init__.py", "cli/__init__.py", "experiments/table.py"}
    lazy |= {"models/__init__.py", "models/classes.py", "data/__init__.py"}
    lazy |= {"interop/gguf/file.py", "runs/questions/export.py"}  # packages of others
    lazy |= {"interop/server/json_format.py"}
    lazy |= {"watch/again/reopen.py"}  # the user's own function, as --model names it
    source = ROOT / "src/whence"
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"import_module\(|__import__\(", path.read_text(encoding="utf-8"))
    }
    assert found == lazy


def test_the_picture_of_the_imports_has_every_room():
    drawn = set(re.findall(r'y="\d+">(\w+)<tspan', read("docs/images/imports.svg")))
    rooms = {p.name for p in (ROOT / "src/whence").iterdir() if (p / "__init__.py").exists()}
    assert rooms <= drawn


def test_commands_write_json_in_one_way():
    """A NaN in what a diverging run tells is no JSON: `strict` alone writes it, as null."""
    writing = re.compile(r"\bdumps?\(")
    files = [
        p.name for p in (ROOT / "src/whence/cli").rglob("*.py") if writing.search(p.read_text())
    ]
    assert files == ["document.py"]


def test_no_merge_was_left_half_done():
    begun = re.compile(r"^(<{7} |>{7} )", re.MULTILINE)
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    texts = [
        f for f in files if f.endswith((".py", ".md", ".rst", ".js", ".css", ".toml", ".html"))
    ]
    assert [f for f in texts if begun.search((ROOT / f).read_text(encoding="utf-8"))] == []
