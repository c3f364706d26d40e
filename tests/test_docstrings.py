"""Public docstrings say what CONTRIBUTING asks of them.

Public is what `whence` and its packages export by `__all__`, and what the site's API pages show:
of a module with an `__all__` what it lists, of any other the names without an underscore.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import whence
import whence.watch

ROOT = Path(__file__).parents[1]
PACKAGES = ["why", "data", "generate", "models.classes", "models.kinds", "scalar", "receipt"]
PACKAGES += ["doctor", "watch", "lessons", "scale", "experiments", "interop", "play"]
# Modules whose functions and classes compute what a paper or a textbook defines.
LITERATURE = re.compile(
    r"whence\.(models\.(?!kinds|classes)|train\.(optimizers|schedules|losses)|generate\.sampling)"
)
FORMULA = re.compile(r"[=←≈∝·√Σ→]")
PARTS = ("sentence", "arguments", "raises", "example", "source")


def shown_modules() -> list[str]:
    """The modules that the site's API pages are made from."""
    pages = sorted((ROOT / "docs/api").glob("*.rst"))
    return [name for page in pages for name in re.findall(r"automodule:: (\S+)", page.read_text())]


@cache
def public() -> dict[str, object]:
    """The public functions and classes, by where they are defined; each counts once."""
    found: dict[str, object] = {}
    exported = [(whence, name) for name in whence.__all__]
    for package in PACKAGES:
        module = importlib.import_module(f"whence.{package}")
        exported += [(module, name) for name in getattr(module, "__all__", [])]
    for place in shown_modules():
        module = importlib.import_module(place)
        exported += [
            (module, name)
            for name, thing in vars(module).items()
            if name in getattr(module, "__all__", [name])
            and not name.startswith("_")
            and getattr(thing, "__module__", "") == place
        ]
    for module, name in exported:
        thing = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return found


def members(thing: object) -> Iterator[tuple[str, object]]:
    """A class's own public methods and properties."""
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            member = getattr(member, "__func__", getattr(member, "fget", member))
            own = inspect.isfunction(member) and member.__module__ == thing.__module__
            if own and not name.startswith("_"):  # not what a decorator made
                yield f"{thing.__module__}.{thing.__qualname__}.{name}", member


def callables() -> dict[str, object]:
    found = dict(public())
    for thing in public().values():
        found.update(members(thing))
    return found


def doc(thing: object) -> str:
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", "")
    return inspect.cleandoc(own or "")


def parameters(thing: object) -> list[str]:
    if getattr(thing, "_is_protocol", False):
        return []
    if inspect.isclass(thing):  # of a data class its fields, of any other its initializer's
        if "__dataclass_fields__" in vars(thing):
            own = vars(thing).get("__annotations__", {})
            fields = thing.__dataclass_fields__.items()
            return [n for n, f in fields if f.init and n in own and not n.startswith("_")]
        thing = vars(thing).get("__init__")
    if not inspect.isfunction(thing):
        return []
    return [n for n in inspect.signature(thing).parameters if n not in ("self", "cls")]


def refuses(thing: object) -> bool:
    """Whether its own body raises a WhenceError."""
    if inspect.isclass(thing):
        starts = (vars(thing).get(name) for name in ("__init__", "__post_init__"))
        return any(refuses(start) for start in starts if inspect.isfunction(start))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError):
        return False
    raised = (n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc)
    return any(ast.unparse(exc).startswith("WhenceError(") for exc in raised)


def lacks_sentence(thing: object) -> bool:
    first = doc(thing).partition("\n\n")[0]
    return not re.search(r"[.?:]$", first)


def lacks_arguments(thing: object) -> bool:
    """Each argument has a line of its own, or is named in the text."""
    text = doc(thing)
    named = [re.search(rf"(?<![\w.]){re.escape(n)}\b", text) for n in parameters(thing)]
    return len(named) > 1 and not all(named)


def lacks_raises(thing: object) -> bool:
    return refuses(thing) and "Raises:" not in doc(thing)


def lacks_example(thing: object) -> bool:
    return not re.search(r">>> (?!.*\+SKIP)", doc(thing))


def lacks_source(thing: object) -> bool:
    literature = LITERATURE.match(thing.__module__)
    return bool(literature) and "Source:" not in doc(thing) and not FORMULA.search(doc(thing))


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_has_it(part):
    lacks = globals()[f"lacks_{part}"]
    asked = public() if part in ("example", "source") else callables()
    missing = sorted(name for name, thing in asked.items() if lacks(thing))
    assert not missing, f"{len(missing)} of {len(asked)} lack it:\n" + "\n".join(missing)


def test_what_most_programs_use_is_whole():
    """The names at the top: a sentence, each argument, what is raised, an example that runs."""
    top = {name: getattr(whence, name) for name in whence.__all__}
    top["watch"] = whence.watch.watch  # `whence.watch` is a package, too, which calls it
    for part in ("sentence", "arguments", "raises", "example"):
        lacks = globals()[f"lacks_{part}"]
        assert [name for name, thing in top.items() if lacks(thing)] == [], part


def test_the_site_shows_them():
    """Every module of the packages most used has its place in an API page."""
    shown = set(shown_modules())
    packages = ("why", "generate", "data", "train", "runs", "models")
    homes = {thing.__module__ for name, thing in public().items() if name.split(".")[1] in packages}
    assert homes <= shown, sorted(homes - shown)
