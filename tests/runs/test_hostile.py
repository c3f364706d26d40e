"""Run folders that lie: only clear errors, nothing outside the folder, no endless memory."""

import json
import os
import random
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.aside import remove_aside
from whence.runs.store.chain import note
from whence.runs.store.header import Header
from whence.runs.upkeep.removal import run_to_remove
from whence.studio.commands import command

resource = pytest.importorskip("resource", reason="memory is limited by POSIX's means")

from tests.runs.changes import (  # noqa: E402
    NAMES,
    header,
    leaves,
    put,
    resign,
    scramble,
    write_header,
)
from tests.runs.fuzz import fuzz, read_all  # noqa: E402  # it needs that module too
from tests.runs.fuzz import use as use_elsewhere  # noqa: E402

EXAMPLES = int(os.environ.get("FUZZ", "15"))  # FUZZ=1000 looks harder
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def bounded_memory():
    """No more than 1 GB above what the process already has."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def use(path: Path) -> None:
    """Let everything that reads a run have its turn; errors must be ours."""
    assert read_all(path) == []


def copy(whole_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "hostile"
    shutil.rmtree(path, ignore_errors=True)
    return Path(shutil.copytree(whole_path, path))


@QUIET
@given(st.sampled_from(NAMES), st.integers(0, 2**32), st.booleans())
def test_any_bytes_in_any_file(whole_path, tmp_path, name, seed, signed):
    path = copy(whole_path, tmp_path)
    scramble(path / name, random.Random(seed))
    if signed and name != "run.toml":
        resign(path)
    use(path)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 17, 10**6, 10**9, 2**31, 2**63 - 1, 2**63, 10**30]),
    st.floats(allow_nan=True),
    st.sampled_from(["", "../../etc/passwd", "/etc/passwd", "a\0b", "gpt", "x" * 100_000]),
    st.lists(st.integers(-2, 5), max_size=3),
    st.dictionaries(st.sampled_from(["kind", "a"]), st.integers(), max_size=2),
)


@QUIET
@given(st.data())
def test_any_value_anywhere_in_run_toml(whole_path, tmp_path, data):
    path = copy(whole_path, tmp_path)
    tree = header(path)
    place = data.draw(st.sampled_from(sorted(leaves(tree), key=str)))
    put(tree, place, data.draw(ODD))
    write_header(path, tree)
    use(path)


@QUIET
@given(st.data())
def test_any_value_anywhere_in_json(whole_path, tmp_path, data):
    path = copy(whole_path, tmp_path)
    name = data.draw(st.sampled_from([n for n in NAMES if n.endswith(".json")]))
    tree = json.loads((path / name).read_text())
    place = data.draw(st.sampled_from(sorted(leaves(tree), key=str)))
    put(tree, place, data.draw(ODD))
    (path / name).write_text(json.dumps(tree))
    resign(path)
    use(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_layers", 10**9),
        ("d_model", 2**40),
        ("d_model", 10**30),
        ("context_length", 10**12),
        ("d_ff", 10**12),
        ("n_heads", 10**9),
        ("d_head", 2**40),
    ],
)
def test_models_beyond_any_machine(whole_path, tmp_path, field, value):
    path = copy(whole_path, tmp_path)
    tree = header(path)
    tree["recipe"]["model"][field] = value
    if field == "n_heads":
        tree["recipe"]["model"]["d_head"] = 2
    write_header(path, tree)
    for action in (lambda r: r.at(6), lambda r: next(r.train(steps=99))):
        with pytest.raises(WhenceError):
            action(Run.open(path))


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 10**9) + b"{}",
        b'\x40\0\0\0\0\0\0\0{"a": {"dtype": "F32", "shape": [1e18], "data_offsets": [0, 4]}}',
        b"",
        b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",  # a pickle
    ],
)
def test_weights_whose_header_lies(whole_path, tmp_path, head):
    path = copy(whole_path, tmp_path)
    (path / "checkpoints/000020/model.safetensors").write_bytes(head)
    resign(path)
    with pytest.raises(WhenceError, match=r"model.safetensors is damaged"):
        Run.open(path).model("last")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pipes_are_refused(whole_path, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    for make in (lambda p: p.symlink_to(secret), os.mkfifo):
        path = copy(whole_path, tmp_path)
        (path / name).unlink()
        make(path / name)
        with pytest.raises(WhenceError, match="is a link or a device"):
            Run.open(path)
    path = copy(whole_path, tmp_path)
    shutil.move(path / "checkpoints", tmp_path / "elsewhere")
    (path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (path / ".lock").unlink(missing_ok=True)
    (path / ".lock").symlink_to(secret)
    with pytest.raises(WhenceError, match="is a link or a device"):
        Run.open(path)
    shutil.rmtree(tmp_path / "elsewhere")
    assert secret.read_text() == "mine"


@pytest.mark.parametrize("name", [".summary.json", "run.toml", "steps.jsonl", "tags.json"])
def test_nobody_waits_for_a_pipe(whole_path, tmp_path, name):
    """A pipe gives nothing and has no end: who reads from one stands still."""
    path = copy(whole_path, tmp_path)
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    assert use_elsewhere(path) == []


@pytest.mark.parametrize(
    "name", ["run.toml", "steps.jsonl", ".lock", "checkpoints", ".summary.json"]
)
@pytest.mark.parametrize("how", ["pipe", "link", "folder", "rubbish"])
def test_a_hostile_run_can_be_removed(whole_path, tmp_path, name, how):
    path = copy(whole_path, tmp_path)
    (tmp_path / "secret").write_text("mine")
    (path / "thesis.txt").write_text("years of work")
    remove_aside(path / name) if name == "checkpoints" else (path / name).unlink(missing_ok=True)
    {
        "pipe": os.mkfifo,
        "link": lambda p: p.symlink_to(tmp_path / "secret"),
        "folder": lambda p: (p / "in").mkdir(parents=True),
        "rubbish": lambda p: p.write_bytes(b"\xff\0" * 99),
    }[how](path / name)
    assert command("remove", {"run": "hostile"}, tmp_path)["left"] == ["thesis.txt"]
    assert [p.name for p in path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "secret").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "../hostile", "../hostile/../hostile/."])
def test_a_run_is_removed_from_inside(whole_path, tmp_path, monkeypatch, name):
    path = copy(whole_path, tmp_path)
    monkeypatch.chdir(path)
    assert Run.open(name).steps
    assert run_to_remove(Path(name)).remove() == []
    assert list(tmp_path.iterdir()) == []


def test_what_whence_did_not_make_is_not_removed(tmp_path):
    for name in ("run.toml", "steps.jsonl", "checkpoints/a"):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[tool]\n")
    (tmp_path / "link").symlink_to("project")
    for name in ("project", "link"):
        with pytest.raises(WhenceError):
            run_to_remove(tmp_path / name).remove()
    assert len(list((tmp_path / "project").iterdir())) == 3


def test_an_endless_line(whole_path, tmp_path):
    path = copy(whole_path, tmp_path)
    with (path / "steps.jsonl").open("ab") as file:
        file.truncate(2 << 30)  # sparse: it takes no disk
    with pytest.raises(WhenceError, match="is endless"):
        list(Run.open(path).logs.steps)
    path = copy(whole_path, tmp_path)
    with (path / "run.toml").open("ab") as file:
        file.truncate(2 << 30)
    with pytest.raises(WhenceError, match="larger than"):
        Run.open(path)


def test_aliases_that_turn_in_circles(whole_path, tmp_path):
    path = copy(whole_path, tmp_path)
    file = path / "checkpoints/000020/state.json"
    state = json.loads(file.read_text())
    state["aliases"] = {"a": "b", "b": "a"}
    file.write_text(json.dumps(state))
    resign(path)
    with pytest.raises(WhenceError, match="no weight b for a"):
        Run.open(path).model("last")


def test_tokens_that_the_vocabulary_hasnt(whole_path, tmp_path):
    path = copy(whole_path, tmp_path)
    raw = bytearray((path / "tokens.bin").read_bytes())
    raw[:] = b"\xff" * len(raw)
    (path / "tokens.bin").write_bytes(bytes(raw))
    resign(path)
    use(path)


def test_names_from_a_file_never_become_paths(whole_path, tmp_path):
    """Steps, runs and kinds that look like paths stay words."""
    path = copy(whole_path, tmp_path)
    (path / "checkpoints" / "..%2f..").mkdir()
    tree = header(path)
    tree["origin"] = {"run": "/etc", "step": 10, "changes": ["../x"]}
    write_header(path, tree)
    before = sorted(p.name for p in tmp_path.iterdir())
    use(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_sample_of_the_fuzzer():
    """Changed files of every kind, each read by everything in a process of its own."""
    calls, wrong = fuzz(12, seed=7)
    assert calls > 150
    assert wrong == []


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_terabyte_of_nothing_is_not_read(whole_path, tmp_path, name, signed):
    path = copy(whole_path, tmp_path)
    file = path / "checkpoints/000020" / name
    os.truncate(file, 1 << 40)  # sparse: it takes no disk, and 25 minutes to hash
    if signed:
        state = json.loads((file.parent / "state.json").read_text())
        state["bytes"][name] = 1 << 40
        (file.parent / "state.json").write_text(json.dumps(state))
        note(path, Header.read(path), [5, 10, 15, 20])
    with pytest.raises(WhenceError, match=f"{name} is damaged: .*1,099,511,627,776 bytes"):
        Run.open(path).model("last")
    with pytest.raises(WhenceError, match="continue from step 15"):
        next(Run.open(path).train(steps=30))
