"""One-line faults put into the sources at random: which share of them do the tests catch?

Each fault is made by one of cosmic-ray's operators (`a + b` → `a - b`, `<` → `<=`, `and` → `or`, a
number one off, …) in a copy of the last commit. The tests that execute its line run, the fastest
first, until one fails or the time is up; where no recorded test does, all of its room, those first
that mention its module most. A catch counts if that test fails once more, and passes without the
fault. What isn't caught in that time survived: the share is a lower bound. Annotations and
docstrings are left out, and tests that are marked slow.

    pip install cosmic-ray coverage
    python -m tests.mutants.executed scalar models train data runs why doctor watch interop
    python -m tests.mutants --count 200 --log mutants.log   # goes on from what the log holds
"""

# pyright: reportMissingImports=false
import argparse
import ast
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.mutants.executed import Maps
from tests.mutants.trial import preload, trial

ROOT = Path(__file__).parents[2]
SOURCE = Path("src/whence")
# Tests of a room that aren't in the folder of its name.
ELSEWHERE = {"receipt": "why", "fields": "runs", "api": "runs", "errors": "cli", "visible": "cli"}
# Times of change that no other version of a file has: Python knows a compiled file by them.
STAMPS = itertools.count(10**9)
# Faults that are none, or that no one makes.
LEFT_OUT = re.compile(r"Is|VariableReplacer|VariableInserter|RemoveDecorator|ExceptionReplacer")


def operators() -> dict[str, Any]:
    """Name → operator of cosmic-ray."""
    from cosmic_ray.plugins import get_operator, operator_names

    names = sorted(name for name in operator_names() if not LEFT_OUT.search(name))
    return {name: get_operator(name)() for name in names}


def meaning(code: str) -> str:
    """The code without what changes nothing: annotations and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            node.annotation = ast.Constant(None)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def faults(path: Path, known: dict[str, Any]) -> list[tuple[str, int, int]]:
    """All faults that could be put into a file: operator, which of its places, line."""
    from cosmic_ray.ast import get_ast_from_path

    tree, found = get_ast_from_path(path), []
    nodes = list(_nodes(tree))
    for name, operator in known.items():
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [(name, i, line) for i, (line, _) in enumerate(places)]
    return found


def _nodes(tree: Any) -> Iterator[Any]:
    yield tree
    for child in getattr(tree, "children", ()):
        yield from _nodes(child)


def put_in(path: Path, known: dict[str, Any], draw: random.Random) -> tuple[str, str, int] | None:
    """Draw a line of the file, and a fault for it; give operator, new code and line."""
    from cosmic_ray.mutating import mutate_code

    code = path.read_text(encoding="utf-8")
    there = faults(path, known)
    for _ in range(20):
        if not there:
            return None
        line = draw.choice(sorted({line for _, _, line in there}))
        name, occurrence, _ = draw.choice([fault for fault in there if fault[2] == line])
        changed = mutate_code(code, known[name], occurrence)
        if changed is not None:
            with suppress(SyntaxError):  # `*` turned into `>>` before an argument
                if meaning(changed) != meaning(code):
                    return name, changed, line
    return None


def tests_of(path: Path, root: Path) -> list[str]:
    """The test files of a module's room, those first that mention the module most."""
    room = path.relative_to(root / SOURCE).parts[0].removesuffix(".py")
    folder = root / "tests" / ELSEWHERE.get(room, room)
    dotted = ".".join(path.relative_to(root / "src").with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    words = [word for word in own if not word.startswith("__") and len(word) > 3]
    ranked = []
    for test in sorted(folder.glob("test_*.py")):
        text = test.read_text(encoding="utf-8")
        mentions = 5 * text.count(dotted) + sum(len(re.findall(rf"\b{w}\b", text)) for w in words)
        ranked.append((-mentions, test.relative_to(root).as_posix()))
    return [name for _, name in sorted(ranked)]


def is_caught(
    root: Path, path: Path, code: str, line: int, maps: Maps, seconds: float
) -> tuple[bool, str]:
    """Put the new code into a file and run tests; tell whether one caught it, and which."""
    whole, stamp = path.read_text(encoding="utf-8"), path.stat().st_mtime
    order = maps.tests(path.relative_to(root).as_posix(), whole, line)
    files = list(dict.fromkeys(name.split("::")[0] for name in order)) or tests_of(path, root)
    until = time.monotonic() + seconds
    unfit: set[str] = set()  # tests that fail without the fault too
    while True:
        path.write_text(code, encoding="utf-8")
        os.utime(path, (next(STAMPS),) * 2)
        try:
            ended, test = trial(root, files, order, unfit, until - time.monotonic())
            if ended != "failed":
                return False, ended
            alone = [test.split("::")[0] or files[0]], [test]
            if trial(root, *alone, set(), 300)[0] == "passed":
                return False, f"{test} passes the second time"
        finally:
            path.write_text(whole, encoding="utf-8")
            os.utime(path, (stamp, stamp))
        if trial(root, *alone, set(), 300)[0] == "passed":
            return True, test
        if "::" not in test:
            return False, f"{alone[0][0]} can't be run without the fault either"
        unfit.add(test)


def interval(caught: int, count: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share."""
    z, p = 1.96, caught / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5 / (1 + z * z / count)
    return middle - half, middle + half


def main() -> int:
    """Put faults in, one at a time, and tell which survive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="which faults are drawn")
    parser.add_argument("--seconds", type=float, default=300, help="of tests for each fault")
    parser.add_argument("--rooms", nargs="*", help="in these rooms of src/whence alone")
    parser.add_argument("--log", type=Path, default=Path("mutants.log"), help="what is through")
    asked = parser.parse_args()
    logged = asked.log.read_text().splitlines() if asked.log.exists() else []
    rows = [json.loads(line) for line in logged]
    known, draw, began = operators(), random.Random(asked.seed), time.monotonic()
    maps = Maps()
    preload()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        root = Path(place, "whence")
        subprocess.run(["git", "worktree", "add", "-q", "--detach", root], cwd=ROOT, check=True)
        try:
            if (ROOT.parent / "shared").exists():
                Path(place, "shared").symlink_to((ROOT.parent / "shared").resolve())
            files = [p for p in sorted((root / SOURCE).rglob("*.py")) if p.name != "__init__.py"]
            if asked.rooms:
                files = [p for p in files if p.relative_to(root / SOURCE).parts[0] in asked.rooms]
            sizes = [len(p.read_text().splitlines()) for p in files]
            done = 0
            while done < asked.count:
                path = draw.choices(files, sizes)[0]
                made = put_in(path, known, draw)
                if made is None:
                    continue
                done += 1
                if done <= len(rows):
                    continue
                name, code, line = made
                before, after = path.read_text().splitlines(), code.splitlines()
                row = {
                    "file": path.relative_to(root).as_posix(), "line": line, "operator": name,
                    "was": before[line - 1].strip(), "is": after[line - 1].strip(),
                }  # fmt: skip
                caught, by = is_caught(root, path, code, line, maps, asked.seconds)
                rows.append(row | {"caught": caught, "by": by})
                with asked.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(rows[-1]) + "\n")
                each = (time.monotonic() - began) / (done - len(logged))
                left = each * (asked.count - done)
                print(f"{done} of {asked.count}, {'caught' if caught else 'SURVIVED'}: "
                      f"{row['file']}:{line} {row['was'][:70]} → {row['is'][:70]} ({by}); "
                      f"{left / 60:.0f} min left", flush=True)  # fmt: skip
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", root], cwd=ROOT, check=False)
    by_room: dict[str, Counter[bool]] = {}
    for row in rows:
        by_room.setdefault(Path(row["file"]).parts[2], Counter())[row["caught"]] += 1
    for room, counts in sorted(by_room.items()):
        print(f"{room:14} {counts[True]} of {counts.total()} caught")
    caught = sum(row["caught"] for row in rows)
    low, high = interval(caught, len(rows))
    print(
        f"caught {caught} of {len(rows)}: {caught / len(rows):.0%} (95 %: {low:.0%} to {high:.0%})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
