"""Each rung from the command line: train, resume, evaluate, generate."""

import json

import pytest

from tests.cli.command import whence
from whence.runs.run import Run

SMALL = ["--model.context-length", "16", "--batch-size", "8"]
ONE_THREAD = ["--hardware.precision", "fp32", "--hardware.threads", "1"]
RUNGS = {
    "bigram": [],
    "mlp": ["--model.n-previous", "3", "--model.d-ff", "16"],
    "rnn": ["--model.d-model", "16"],
    "lstm": ["--model.d-model", "16"],
    "ngram-gpt": ["--model.order", "3", "--model.d-model", "16", "--model.n-heads", "2"],
    "gru": ["--model.d-model", "16", "--model.form", "formula"],
}


@pytest.mark.parametrize("name", RUNGS)
def test_a_rung_trains_resumes_is_measured_and_writes(name, text_file, tmp_path, capsys):
    path = tmp_path / name
    words = ["--model", name, *RUNGS[name], *SMALL, *ONE_THREAD]
    assert whence("train", text_file, "--out", path, "--steps", 6, *words) == 0
    assert f"{name}: " in capsys.readouterr().out
    assert whence("resume", path, "--steps", 9) == 0
    run = Run.open(path)
    assert [r["step"] for r in run.steps] == list(range(9))
    assert run.recipe.to_dict()["model"]["kind"] == name
    capsys.readouterr()
    assert whence("evaluate", path, "--json") == 0
    assert 0 < json.loads(capsys.readouterr().out)["loss"] < 4
    # 40 tokens: beyond the window of 16
    assert whence("generate", path, "the ", "--max-tokens", 40, "--no-stream") == 0
    assert len(capsys.readouterr().out) >= 40
