"""Every view and the report answer for each kind of model, or say in a sentence why not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.cli.command import whence
from tests.runs.tiny import RUNGS, finish, make
from whence.errors import WhenceError
from whence.models import NGramConfig
from whence.runs.run import Run
from whence.studio.answers import answer
from whence.studio.report import report
from whence.studio.wire import pack

KINDS = {**RUNGS, "ngram": replace(RUNGS["gpt"], model=NGramConfig(), steps=1)}
ASKED = [
    ("runs", {}),
    ("live", {}),
    ("points", {"last": 2}),
    ("step", {"step": 1}),
    ("strip", {}),
    ("prediction", {}),
    ("prediction", {"prompt": "9 bottles", "position": 2}),
    ("chat", {}),
    ("chat", {"messages": [{"role": "user", "content": "9 b"}], "max_tokens": 2}),
    ("flow", {}),
    ("flow", {"text": "9 bottles"}),
    ("flow", {"text": "few\t9 bottles"}),
    ("cell", {}),
    ("cell", {"address": "logits"}),
    ("receipt", {}),
    ("attribution", {"address": "loss"}),
    ("names", {"part": "log"}),
    ("tracing", {}),
]


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    recipe = KINDS[request.param]
    steps = min(3, recipe.steps)
    made = make(tmp_path_factory.mktemp("every") / "one", recipe, steps=steps)
    finish(made)
    return made


def test_every_view_answers(run):
    refused = []
    for name, params in ASKED:
        of_run = {} if name == "runs" else {"run": run.name}
        try:
            assert pack(answer(name, {**of_run, **params}, run.path.parent))
        except WhenceError as error:
            refused.append((name, str(error)))
    # What has steps is opened; only texts of one's own may not suit the model.
    steps = not isinstance(run.recipe.model, NGramConfig)
    writes = type(run.recipe.model).__name__ != "ClassifierConfig"
    for name, error in refused:
        excused = (
            {"flow"} if steps else {"flow", "cell", "receipt", "attribution", "names", "tracing"}
        )
        excused |= {"step", "strip"} if not steps else set()
        excused |= set() if writes else {"prediction", "strip"}
        excused |= {"chat"} if type(run.recipe.model).__name__.startswith(("Cl", "Seq")) else set()
        assert name in excused, (name, error)


def test_report_of_every_model(run, tmp_path, capsys):
    assert whence("report", run.path, "--html", tmp_path / "report.html") == 0
    assert "<!doctype html>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    views = [shown.view for shown in report(run).shown]
    assert ("flow" in views) == (not isinstance(run.recipe.model, NGramConfig))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Run:
    made = make(tmp_path_factory.mktemp("encoder") / "labels", RUNGS["encoder"], steps=3)
    finish(made)
    return made


def test_an_encoders_step_is_torchs(encoder):
    """Its logits and loss as torch works them out, and the text each example is."""
    folder, step = encoder.path.parent, 2
    moment = encoder.at(step)
    [(_, part)] = moment.batch
    with torch.no_grad():
        logits = moment.model(part.inputs, part.visible)
    loss = F.cross_entropy(logits, part.targets)
    found = answer("cell", {"run": encoder.name, "address": "logits", "step": step}, folder)
    np.testing.assert_allclose(found["matrix"]["values"], logits.numpy(), rtol=1e-5, atol=1e-7)
    assert found["matrix"]["column_labels"] is None  # they are classes, and no tokens
    asked = {"run": encoder.name, "address": "loss", "step": step}
    told = answer("cell", asked, folder)["receipt"]
    assert told["value"] == pytest.approx(loss.item(), rel=1e-6)
    flow = answer("flow", {"run": encoder.name, "step": step}, folder)
    rows = flow["stages"][0]["tile"]["row_labels"]
    read = part.inputs[0].tolist()
    assert rows == [encoder.tokenizer.decode([token]) for token in read]
    assert any("as recorded, to the bit" in note for note in flow["notes"])
    embedding = "encoder.embed.weight.grad"
    by = {"run": encoder.name, "address": embedding, "by": "where", "step": step}
    labels = [share["label"] for share in answer("attribution", by, folder)["shares"]]
    known = {f"text {start} of labels" for start in part.starts}
    assert labels
    assert all(label.partition(":")[0] in known for label in labels), labels


def test_an_encoder_reads_a_labelled_text(encoder):
    folder = encoder.path.parent
    model, tokenizer = encoder.model(2), encoder.tokenizer
    ids = torch.from_numpy(np.asarray(tokenizer.encode("9 bottles")).astype(np.int64))[None]
    with torch.no_grad():
        loss = F.cross_entropy(model(ids), torch.tensor([1])).item()
    asked = {"run": encoder.name, "step": 2, "text": "many\t9 bottles"}
    assert answer("flow", asked, folder)["loss"] == pytest.approx(loss, rel=1e-6)
    for text in ("9 bottles", "lots\t9 bottles", "many\t", "many\t9\t9"):
        with pytest.raises(WhenceError, match=r"its class \(few, many\), a tab, and the text"):
            answer("flow", {**asked, "text": text}, folder)
