"""Which tests execute a line: recorded while they run once, asked for each fault.

    python -m tests.mutants.executed scalar models   # tests/scalar, tests/models

Coverage.py keeps, for each line, the test under which it was executed; a command that a test starts
belongs to that test. What a shared fixture executes belongs to all tests that use the fixture.
"""

# pyright: reportMissingImports=false
import ast
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAPS = ROOT / "build/executed"
SETTINGS = """[run]
source = {root}/src/whence
data_file = {place}/data
parallel = true
relative_files = true
sigterm = true
context = ${{WHENCE_TEST}}
disable_warnings = module-not-measured, no-data-collected, module-not-imported, no-contexts
"""


class Recorder:
    """A pytest plugin that tells coverage which test is running."""

    def __init__(self, measured: Any) -> None:
        self.measured = measured
        self.seconds: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.users: dict[str, list[str]] = defaultdict(list)
        self.now = ""

    def _under(self, name: str) -> str:
        before, self.now = self.now, name
        os.environ["WHENCE_TEST"] = name
        self.measured.switch_context(name)
        return before

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Remember who uses which fixture."""
        for item in items:
            for fixture in item.fixturenames:
                self.users[fixture].append(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        """Record what a test executes."""
        before = self._under(item.nodeid)
        try:
            return (yield)
        finally:
            self._under(before)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        """Record what a fixture of several tests executes."""
        if fixturedef.scope == "function":
            return (yield)
        before = self._under(f"fixture {fixturedef.baseid} {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self._under(before)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up a test's time."""
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.failed.add(report.nodeid)


def record(room: str) -> None:
    """Run the fast tests of a folder and write its map."""
    import coverage

    MAPS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place, "settings")
        settings.write_text(SETTINGS.format(root=ROOT, place=place), encoding="utf-8")
        os.environ |= {"COVERAGE_PROCESS_START": str(settings), "WHENCE_TEST": ""}
        measured = coverage.Coverage(config_file=str(settings))
        recorder = Recorder(measured)
        measured.start()
        options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow"]
        pytest.main([*options, f"tests/{room}"], plugins=[recorder])
        measured.stop()
        measured.save()
        whole = coverage.CoverageData(str(MAPS / f"{room}.coverage"))
        whole.erase()
        for part in Path(place).glob("data.*"):
            lines = coverage.CoverageData(str(part))
            lines.read()
            whole.update(lines)
    passed = {n: s for n, s in recorder.seconds.items() if n not in recorder.failed}
    about = {"seconds": passed, "users": recorder.users}
    (MAPS / f"{room}.json").write_text(json.dumps(about), encoding="utf-8")


class Maps:
    """The maps that were recorded, read together."""

    def __init__(self, folder: Path = MAPS) -> None:
        self.lines: list[Any] = []
        self.seconds: dict[str, float] = {}
        self.users: dict[str, list[str]] = defaultdict(list)
        for about in sorted(folder.glob("*.json")):
            import coverage

            read = json.loads(about.read_text(encoding="utf-8"))
            self.seconds |= read["seconds"]
            for name, users in read["users"].items():
                self.users[name] += users
            lines = coverage.CoverageData(str(about.with_suffix(".coverage")))
            lines.read()
            self.lines.append(lines)

    def tests(self, file: str, code: str, line: int) -> list[str]:
        """The tests that execute the statement at a line, the fastest first.

        What is executed on import alone (a default, a field, a constant) is known by the tests that
        run what is in its function, its class or its file.
        """
        names: dict[int, set[str]] = defaultdict(set)
        for data in self.lines:
            for number, contexts in data.contexts_by_lineno(file).items():
                names[number] |= set(contexts)
        for lines in around(code, line):
            contexts = set().union(*(names[number] for number in lines))
            found = set().union(*(self._meant(name) for name in contexts)) & self.seconds.keys()
            if found:
                return sorted(found, key=lambda name: self.seconds[name])
        return []

    def _meant(self, context: str) -> set[str]:
        if not context.startswith("fixture "):
            return {context}
        _, base, name = context.split(" ", 2)
        return {test for test in self.users[name] if test.startswith(base)}


def around(code: str, line: int) -> list[set[int]]:
    """Lines that tell who executes a line, the closest first.

    They are its statement's, or where it runs on import those in its function, its class, its file.

    Example:
        >>> code = "def f(x, y=1):\\n    return (\\n        x)\\n\\nlimit = 3\\n"
        >>> around(code, 3), around(code, 5)
        ([{2, 3}], [{2, 3}])
    """
    tree = ast.parse(code)
    holders = ast.FunctionDef | ast.AsyncFunctionDef
    bodies: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, holders):
            bodies |= set(range(_first(node.body[0]), (node.end_lineno or 0) + 1))
    if line in bodies:
        return [_statement(tree, line)]
    wider = [bodies]
    for node in ast.walk(tree):  # from outside inwards
        if isinstance(node, holders | ast.ClassDef) and line in _lines(node):
            wider.insert(0, _lines(node) & bodies)
    return wider


def _statement(tree: ast.Module, line: int) -> set[int]:
    """Lines of the innermost statement at a line; of one that holds others, those of its head."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler) and line in _lines(node):
            inside = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node]
            found = _lines(node).difference(*map(_lines, inside))
    return found


def _lines(node: Any) -> set[int]:
    return set(range(_first(node), node.end_lineno + 1))


def _first(node: Any) -> int:
    return min([node.lineno, *(n.lineno for n in getattr(node, "decorator_list", []))])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        import subprocess

        for name in sys.argv[1:]:
            subprocess.run([sys.executable, "-m", "tests.mutants.executed", name], check=False)
    else:
        record(sys.argv[1])
