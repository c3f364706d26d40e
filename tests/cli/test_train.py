"""`whence train` and `whence resume`, as a person calls them."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator

import pytest

from tests.cli.command import TEXT, TINY, start, whence
from whence.errors import WhenceError
from whence.runs.questions.export import export_metrics
from whence.runs.run import Run


def test_training_tells_what_it_does(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    code = whence("train", text_file, "--out", out, "--steps", 30, *TINY)
    printed = capsys.readouterr().out
    assert code == 0
    for said in ("1 thread", "fp32", "parameters", "uniform", "unigram", "bigram", "gzip", "xz"):
        assert said in printed
    assert "validation" in printed
    assert "it writes" in printed
    assert "next" in printed
    assert f"whence resume {out} --steps 60" in printed
    assert "a checkpoint every 200 steps or 10 s, whichever is longer, all kept" in printed
    [most] = re.findall(r"each takes at most ([\d.]+) kB", printed)
    for name in ("model", "optimizer"):
        size = (out / f"checkpoints/000030/{name}.safetensors").stat().st_size
        assert size < 1000 * float(most)
    assert f"({len(Run.open(out).checkpoints)} checkpoints, " in printed
    step_0 = next(line for line in printed.splitlines() if line.startswith("step      0"))
    assert "now below" not in step_0
    run = Run.open(out)
    assert [r["step"] for r in run.steps] == list(range(30))
    assert run.evals[-1]["bits_per_byte"] < 0.7 * run.evals[0]["bits_per_byte"]
    assert run.samples


def test_floors_are_those_of_the_validation_text(text_file, tmp_path, capsys):
    whence("train", text_file, "--out", tmp_path / "run", "--steps", 1, *TINY)
    printed = capsys.readouterr().out
    import math

    kinds = len(set(TEXT))
    assert f"uniform {math.log2(kinds):.3f}" in printed


def test_folder_with_spaces_and_recipe_file(text_file, tmp_path, capsys):
    folder = tmp_path / "my texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT[:900])
    (folder / "b.txt").write_text(TEXT[900:])
    first = tmp_path / "first run"
    assert whence("train", folder, "--out", first, "--steps", 3, *TINY) == 0
    second = tmp_path / "second"
    assert whence("train", first / "run.toml", "--out", second, "--seed", 5) == 0
    one, two = Run.open(first), Run.open(second)
    assert two.recipe.model == one.recipe.model
    assert (one.recipe.seed, two.recipe.seed) == (0, 5)
    assert tomllib.loads((second / "run.toml").read_text())["schema"] == 1


def test_what_is_left_out_is_told(text_file, tmp_path, capsys):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.bin").write_bytes(bytes(range(256)))
    assert whence("train", folder, "--out", tmp_path / "run.toml", "--steps", 1, *TINY) == 0
    assert "left out 1 that aren't text: " in capsys.readouterr().err


def test_a_batch_that_cannot_fit_is_refused(text_file, tmp_path, capsys):
    words = ["--model.d-model", "4096", "--batch-size", "80000", "--model.n-layers", "1"]
    assert whence("train", text_file, "--out", tmp_path / "run", *TINY, *words) == 2
    told = capsys.readouterr().err
    assert "GB of memory" in told
    assert "accumulate" in told


def test_standard_input(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert whence("train", "-", "--out", tmp_path / "run", "--steps", 2, *TINY) == 0
    assert Run.open(tmp_path / "run").dataset.source == "standard input"


def test_kinds_and_flags_in_any_order(text_file, tmp_path):
    out = tmp_path / "run"
    words = "--optimizer.learning-rate 3e-4 --model.n-layers 3 --optimizer adamw --model gpt2"
    code = whence("train", *words.split(), "--out", out, text_file, "--steps", 1, *TINY[2:])
    recipe = Run.open(out).recipe
    assert code == 0
    assert recipe.optimizer.learning_rate == 3e-4
    assert (recipe.model.n_layers, recipe.model.positions) == (3, "learned")


@pytest.mark.parametrize("tokenizer", ["bytes", "words", "bpe"])
def test_each_tokenizer(tokenizer, text_file, tmp_path):
    out = tmp_path / "run"
    words = ["--data.tokenizer", tokenizer, "--data.validation", "0.3"]
    words += ["--data.vocab-size", "300"] if tokenizer != "bytes" else []
    assert whence("train", text_file, "--out", out, "--steps", 3, *TINY, *words) == 0
    assert whence("generate", out, "the ", "--max-tokens", 5) == 0


def test_json_events(text_file, tmp_path, capsys):
    whence("train", text_file, "--out", tmp_path / "run", "--steps", 4, "--json", *TINY)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(e["schema"] == 1 for e in events)
    assert events[0]["event"] == "run"
    assert sum(e["event"] == "step" for e in events) == 4
    assert events[-1] == {"schema": 1, "event": "end", "step": 4, "why": "finished"}


def test_resume_with_more_steps(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    whence("train", text_file, "--out", out, "--steps", 3, *TINY)
    assert whence("resume", out) == 2
    assert "Give more with --steps" in capsys.readouterr().err
    assert whence("resume", out, "--steps", 6) == 0
    assert len(Run.open(out).steps) == 6


def test_exported_metrics(text_file, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    flags = ["--export-metrics", "csv", "tensorboard"]
    assert whence("train", text_file, "--out", out, "--steps", 3, *TINY, *flags) == 0
    lines = (out / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("step,loss,validation_loss")
    assert len(lines) == 1 + 4
    found = EventAccumulator(str(out / "tensorboard")).Reload()
    kept = [(s.step, s.value) for s in found.Scalars("loss")]
    assert kept == [(s["step"], pytest.approx(s["loss"])) for s in Run.open(out).steps]
    assert [s.step for s in found.Scalars("validation_loss")][-1] == 3


def _leveldb_records(raw: bytes) -> Iterator[bytes]:
    """The records of a file of wandb's: LevelDB's log format, in blocks of 32 KiB."""
    at, record = 7, b""  # behind wandb's own header
    while at + 7 <= len(raw):
        if 32_768 - at % 32_768 < 7:  # too little room for a header: the next block
            at += 32_768 - at % 32_768
            continue
        size, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        if at + 7 + size > len(raw):
            return  # not yet written
        record += raw[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def test_metrics_for_weights_and_biases(trained, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is an extra: pip install whence[wandb]")
    from wandb.proto import wandb_internal_pb2

    run = Run.open(shutil.copytree(trained, tmp_path / "run"))
    monkeypatch.setenv("WANDB_MODE", "disabled")  # what a shell says doesn't change it
    for _ in range(2):
        folder = export_metrics(run, "wandb")
    [file] = folder.glob("offline-run-*/run-*.wandb")
    losses, end = [], time.monotonic() + 300
    while len(losses) < len(run.steps) and time.monotonic() < end:  # wandb's process writes on
        losses = []
        for data in _leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {i.key or ".".join(i.nested_key): i.value_json for i in record.history.item}
            losses += [float(items["loss"])] if "loss" in items else []
    assert losses == [step["loss"] for step in run.steps]


def test_metrics_for_trackio(trained, tmp_path):
    pytest.importorskip("trackio", reason="trackio is an extra: pip install whence[trackio]")
    program = (
        "import sys; from whence import Run; from whence.runs.questions.export import "
        "export_metrics; run = Run.open(sys.argv[1]); export_metrics(run, 'trackio');"
        "from trackio.sqlite_storage import SQLiteStorage; import json;"
        "print(json.dumps(SQLiteStorage.get_logs('whence', run.name)))"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "t"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, trained],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)  # what trackio says of itself goes to the other stream
    assert [row["loss"] for row in rows if "loss" in row] == [
        step["loss"] for step in Run.open(trained).steps
    ]


def test_a_tracker_that_is_not_there_is_told(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(WhenceError, match=r"pip install whence\[wandb\]"):
        export_metrics(Run.open(trained), "wandb")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_and_says_how_to_resume(text_file, tmp_path):
    out = tmp_path / "run"
    with start("train", text_file, "--out", out, "--steps", 100_000, *TINY) as process:
        lines = out / "steps.jsonl"
        while not lines.exists() or len(lines.read_text()) < 2000:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"whence resume {out}" in printed
    run = Run.open(out)
    assert run.state == "stopped"
    assert run.checkpoints[-1] == len(run.steps)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-file.txt"], "doesn't exist"),
        (["--model", "gtp2"], "model 'gtp2' is unknown: did you mean gpt2?"),
        (["--model"], "--model needs a name"),
        (["--optimizer", "adam"], "did you mean adamw?"),
        (["missing.toml"], "there is no recipe missing.toml"),
        (["--steps", "0"], "steps is 0"),
        (["--model.d-model", "130"], "d_model = 130 can't be divided among n_heads"),
        (["--batch-size", "8", "--accumulate", "3"], "make batch_size a multiple"),
        (["--export-metrics", "excel"], "--export-metrics excel is unknown"),
        (["--export-metrics"], "--export-metrics needs a format: choose from csv, tensorboard"),
        (["--data.validation", "1.5"], "data.validation is 1.5"),
        (["--hardware.device", "cuda"], "hardware.device is cuda, but this machine has"),
    ],
)
def test_bad_input_is_one_sentence(words, message, tmp_path, monkeypatch, capsys):
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(tmp_path)
    assert whence("train", *words) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert told.startswith("whence: ")
    assert "\n" not in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("steps = ", "isn't a recipe"),
        ("step = 5", "step isn't a field of the recipe: did you mean steps?"),
        (
            "[model]\nn_layer = 2",
            "model.n_layer isn't a field of the recipe: did you mean n_layers",
        ),
        ("steps = 'many'", "steps is 'many': it must be a whole number"),
        ("[model]\nkind = 'gpt3'", "model 'gpt3' is unknown: did you mean gpt?"),
        ("model = 3", "model is 3: it must be a table of fields"),
        ("data.source = 'none.txt'", "'none.txt' doesn't exist"),
    ],
)
def test_bad_recipes(recipe, message, tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe)
    assert whence("train", path, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\x01binary\x00", "binary"),
        (b"caf\xe9 au lait", "UTF-8"),
        (b"too short", "too short"),
    ],
)
def test_bad_texts(content, message, tmp_path, capsys):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    assert whence("train", path, "--out", tmp_path / "run", *TINY) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_existing_folder_is_not_overwritten(trained, text_file, capsys):
    assert whence("train", text_file, "--out", trained) == 2
    told = capsys.readouterr().err
    command = told.partition("'whence resume ")[2].partition(", or choose")[0][:-1]
    assert shlex.split(command) == [str(trained)]  # whose path has a space


def test_unknown_verb_and_flag(capsys):
    assert whence("trian") == 2
    assert "did you mean train?" in capsys.readouterr().err
    assert whence("train", "--model.n-layer", "2") == 2
    assert "n-layers" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert whence("--help") == 0
    printed = capsys.readouterr().out
    assert "train a model on your text" in printed
    assert whence("train", "--help") == 0
    printed = capsys.readouterr().out
    assert "--model.n-layers" in printed
    assert "Models: gpt" in printed
