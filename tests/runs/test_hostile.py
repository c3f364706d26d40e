"""Run folders that lie: only clear errors, nothing outside the folder, no endless memory."""

import json
import os
import random
import shutil
import struct
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whence.errors import WhenceError
from whence.runs.compare import compare
from whence.runs.files import sha256
from whence.runs.header import PINNED, _first_line
from whence.runs.listing import list_runs
from whence.runs.repair import repair
from whence.runs.run import Run
from whence.runs.verify import verify

resource = pytest.importorskip("resource", reason="memory is limited by POSIX's means")
NAMES = (
    "run.toml",
    "tokens.json",
    "tokens.bin",
    "tokenizer.json",
    "steps.jsonl",
    "evals.jsonl",
    "samples.jsonl",
    "checkpoints/000010/state.json",
    "checkpoints/000010/model.safetensors",
    "checkpoints/000020/optimizer.safetensors",
)
EXAMPLES = int(os.environ.get("FUZZ", "15"))  # FUZZ=1000 looks harder
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def bounded_memory():
    """No more than 3 GB above what the process already has."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def use(path: Path) -> None:
    """Do everything that reads a run; errors must be ours."""
    for action in (
        lambda: list_runs(path.parent),
        lambda: Run.open(path).state,
        lambda: Run.open(path).disk_use,
        lambda: Run.open(path).samples,
        lambda: Run.open(path).at(6),
        lambda: Run.open(path).at(12),
        lambda: Run.open(path).model("last"),
        lambda: compare(Run.open(path), Run.open(path)),
        lambda: verify(Run.open(path), 3),
        lambda: next(Run.open(path).train(steps=21)),
        lambda: repair(Run.open(path)),
    ):
        try:
            action()
        except WhenceError as error:
            assert len(str(error)) < 2000  # noqa: PT017
            assert "Traceback" not in str(error)  # noqa: PT017


def copy(whole_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "hostile"
    shutil.rmtree(path, ignore_errors=True)
    return Path(shutil.copytree(whole_path, path))


def resign(path: Path) -> None:
    """Make every checksum fit again, as one who means harm would."""
    for step in ("000010", "000020"):
        folder = path / "checkpoints" / step
        try:
            state = json.loads((folder / "state.json").read_text())
            for part in state["sha256"]:
                state["sha256"][part] = sha256(folder / part)
            (folder / "state.json").write_text(json.dumps(state))
        except Exception:
            pass
    try:
        description = json.loads((path / "tokens.json").read_text())
        description["tokens_sha256"] = sha256(path / "tokens.bin")
        (path / "tokens.json").write_text(json.dumps(description))
    except Exception:
        pass
    tree = tomllib.loads((path / "run.toml").read_text().partition("\n")[2])
    tree["pins"] = {name: sha256(path / name) for name in PINNED}
    write_header(path, tree)


def write_header(path: Path, tree: dict) -> None:
    body = tomli_w.dumps(tree)
    (path / "run.toml").write_text(_first_line(body) + body, encoding="utf-8")


def header(path: Path) -> dict:
    return tomllib.loads((path / "run.toml").read_text().partition("\n")[2])


@QUIET
@given(st.sampled_from(NAMES), st.integers(0, 2**32), st.booleans())
def test_any_bytes_in_any_file(whole_path, tmp_path, name, seed, signed):
    """Flips, cuts, repeats and rubbish."""
    path = copy(whole_path, tmp_path)
    draw = random.Random(seed)
    raw = bytearray((path / name).read_bytes())
    for _ in range(draw.choice([1, 1, 3, 50])):
        at, kind = draw.randrange(len(raw) + 1), draw.randrange(4)
        if kind == 0 and at < len(raw):
            raw[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del raw[at : at + draw.randrange(20)]
        elif kind == 2:
            raw[at:at] = draw.randbytes(draw.randrange(20))
        else:
            raw[at:at] = raw[draw.randrange(len(raw) + 1) :][:50]
    (path / name).write_bytes(bytes(raw))
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


def leaves(tree, before=()):
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*before, name)
        if isinstance(value, dict | list):
            yield from leaves(value, (*before, name))


def put(tree, place, value) -> None:
    for name in place[:-1]:
        tree = tree[name]
    if value is None:
        del tree[place[-1]]
    else:
        tree[place[-1]] = value


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
