"""The answers behind the views, against torch and the numbers of the trace."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs.tiny import RUNGS, finish, make
from whence import Run
from whence.errors import WhenceError
from whence.generate import generate
from whence.studio.answers import answer
from whence.studio.answers.inside.traces import Asked, Traces
from whence.studio.wire import pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_run) -> Path:
    """Runs of several kinds of model, a few steps each."""
    path = tmp_path_factory.mktemp("the runs")
    shutil.copytree(tiny_run, path / "gpt")
    for name in ("lstm", "rnn", "mlp", "bigram", "seq2seq"):
        finish(make(path / name, RUNGS[name]), steps=6)
    return path


def logits(folder: Path, run: str, prompt: str) -> torch.Tensor:
    """The model's own logits behind a prompt."""
    opened = Run.open(folder / run)
    ids = torch.tensor([opened.tokenizer.encode(prompt).tolist()])[
        :, -opened.recipe.model.context_length :
    ]
    with torch.no_grad():
        return opened.model("best")(ids)[0, -1]


@pytest.mark.parametrize(
    ("run", "prompt"),
    [
        ("gpt", "99 bott"),
        ("lstm", "99 bott"),
        ("mlp", "bott"),
        ("bigram", "b"),
        ("seq2seq", "9 b\t0"),
    ],
)
def test_prediction_is_the_models_softmax(folder, run, prompt):
    given = answer(
        "prediction",
        {"run": run, "prompt": prompt, "temperature": 0.5, "top_k": 3, "top": 400},
        folder,
    )
    own = logits(folder, run, prompt)
    rows = {row["id"]: row for row in given["rows"]}
    assert len(rows) == len(own) == given["vocabulary"]
    ids = sorted(rows)
    for name, oracle in {
        "logit": own,
        "p": own.softmax(-1),
        "before": (own / 0.5).softmax(-1),
    }.items():
        assert np.allclose([rows[i][name] for i in ids], oracle[ids], atol=1e-6), name
    kept = (own >= own.topk(3).values[-1]).nonzero().flatten().tolist()  # those level with it too
    assert [i for i in ids if rows[i]["dropped_by"] is None] == kept
    assert {rows[i]["dropped_by"] for i in ids} <= {None, "top_k"}
    after = [rows[i]["after"] for i in kept]
    assert np.allclose(after, (own[kept] / 0.5).softmax(-1), atol=1e-6)
    assert sum(row["drawn"] for row in rows.values()) == 1


def test_training_mode_teaches_p_minus_y(folder):
    given = answer(
        "prediction", {"run": "gpt", "prompt": "bottles", "position": 3, "top": 400}, folder
    )
    own = logits(folder, "gpt", "bot").clone().requires_grad_()
    target = int(Run.open(folder / "gpt").tokenizer.encode("t")[0])
    loss = torch.nn.functional.cross_entropy(own[None], torch.tensor([target]))
    loss.backward()
    assert given["target"] == target
    assert given["surprise"] == pytest.approx(loss.item(), abs=1e-6)
    for row in given["rows"]:
        assert row["error"] == pytest.approx(own.grad[row["id"]].item(), abs=1e-6)


def test_writing_on_gives_what_generate_gives(folder):
    run = Run.open(folder / "gpt")
    text = generate(run.model("best"), run.tokenizer, "99 ", max_tokens=4, seed=3)[0]
    given = answer("prediction", {"run": "gpt", "prompt": "99 ", "seed": 3, "written": 4}, folder)
    assert given["text"] == "99 " + text
    for count in range(4):
        one = answer(
            "prediction", {"run": "gpt", "prompt": "99 ", "seed": 3, "written": count}, folder
        )
        assert one["drawn"] == text[count]


@pytest.mark.parametrize(
    "address",
    ["logits", "loss", "blocks.0.attn.weights", "blocks.0.mlp.up.weight.update", "blocks.0.h"],
)
def test_cell_tells_what_the_trace_tells(folder, address):
    given = answer("cell", {"run": "gpt", "step": 7, "address": address, "top": 1000}, folder)
    t = Run.open(folder / "gpt").at(7).trace()
    number = t.number(given["address"])
    receipt = given["receipt"]
    assert receipt["value"] == number.value
    total = sum(term["value"] for term in receipt["terms"]) + receipt["others"]["value"]
    assert total + receipt["residual"] == pytest.approx(number.value, abs=1e-12)
    place, cut = given["place"], given["matrix"]
    row, column = place["row"] - cut["top"], place["column"] - cut["left"]
    assert cut["values"][row, column] == np.float32(number.value)
    for source in given["sources"]:
        whole = source["matrix"]
        assert whole["values"].size <= 128 * 128
        assert source["count"] >= 1
    pack(given)


def test_what_each_use_sent_back_adds_up_to_autograds_gradient(folder):
    given = answer("cell", {"run": "gpt", "step": 7, "address": "embed[0,3,5]"}, folder)
    t = Run.open(folder / "gpt").at(7).trace()
    assert len(given["arrivals"]) > 2
    total = sum(a["value"] for a in given["arrivals"])
    assert given["grad"]["value"] == t["embed"].grad.value[0, 3, 5].item()
    assert total == pytest.approx(given["grad"]["value"], rel=1e-4, abs=1e-9)


def test_receipt_of_a_weight_adds_up_to_the_stored_weights(folder):
    name = "head.weight"
    given = answer("receipt", {"run": "gpt", "step": 9, "address": f"{name}[3,7]"}, folder)
    run = Run.open(folder / "gpt")
    head = given["head"]
    before, after = (run.at(step).model.get_parameter(name)[3, 7].item() for step in (9, 10))
    assert (head["old"], head["new"]) == (before, after)
    assert head["old"] + head["change"] == pytest.approx(head["new"], abs=1e-12)
    lines = sum(line["value"] for line in given["lines"])
    assert lines + given["receipt"]["residual"] == pytest.approx(head["change"], abs=1e-12)
    by = answer("attribution", {"run": "gpt", "step": 9, "address": given["target"]}, folder)
    shares = sum(s["value"] for s in by["shares"]) + by["others"]["value"]
    assert shares + by["rounding"] == pytest.approx(head["change"], abs=1e-12)
    about = {"run": "gpt", "step": 9, "address": given["target"], "top": 1000}
    for token in by["shares"]:
        if token["label"].startswith("'"):
            found = answer("places", {**about, "token": token["label"], "path_of": 0}, folder)
            places = [place["value"] for place in found["places"]]
            assert sum(places) == pytest.approx(token["value"], rel=1e-6, abs=1e-15)
    paths = sum(p["value"] for p in found["paths"])
    assert paths == pytest.approx(found["places"][0]["value"], rel=1e-3)
    assert "⟨" in found["places"][0]["where"]


@pytest.mark.parametrize("run", ["gpt", "lstm", "rnn", "mlp", "bigram", "seq2seq"])
def test_flow_goes_from_tokens_to_logits(folder, run):
    given = answer("flow", {"run": run, "step": 3}, folder)
    stages = [stage for stage in given["stages"] if stage["tile"]]
    assert stages
    tile = stages[-1]["tile"]
    t = Run.open(folder / run).at(3).trace()
    own = t[stages[-1]["name"]].value[0].flatten(1).numpy()
    rows, columns = tile["values"].shape
    assert np.array_equal(tile["values"], own[:rows, :columns])
    best = given["predictions"][0]
    assert all(0 < p <= 1 for p in best["p"])
    pack(given)


def test_attention_opens_into_its_arithmetic(folder):
    given = answer(
        "flow", {"run": "gpt", "step": 3, "example": 2, "open": "blocks.0", "head": 1}, folder
    )
    (one,) = given["attention"]
    q, k, v, products, scores, weights, mixed = (
        torch.from_numpy(one[key]["values"])
        for key in ("q", "k", "v", "products", "scores", "weights", "mixed")
    )
    t = Run.open(folder / "gpt").at(3).trace()
    own = t["blocks.0.attn.weights"].value.reshape(4, 2, 16, 16)[2, 1]
    assert torch.equal(weights, own.float())
    seen = torch.ones_like(scores).tril().bool()
    assert torch.allclose(q @ k.T, products, atol=1e-4)
    assert torch.allclose((products * one["scale"])[seen], scores[seen], atol=1e-4)
    assert scores[~seen].isneginf().all()
    assert torch.allclose(scores.softmax(-1), weights, atol=1e-5)
    assert torch.allclose(weights @ v, mixed, atol=1e-4)


def test_each_key_of_a_pairs_model_is_read(folder):
    given = answer("flow", {"run": "seq2seq", "step": 3, "open": "blocks.0"}, folder)
    assert [one["module"] for one in given["attention"]] == [
        "blocks.0.attn.part",
        "blocks.0.cross.part",
    ]


def test_the_logit_of_an_answer_opens(folder):
    """Its address is the one that the prediction's page leads to."""
    asked = {"run": "seq2seq", "at": "5", "prompt": "99 b\t09"}
    given = answer("prediction", asked, folder)
    address = f"output[0,{given['read'] - 1},{given['drawn_id']}]"
    where = {"run": "seq2seq", "step": 5, "text": given["trace_text"], "address": address}
    drawn = next(r for r in given["rows"] if r["id"] == given["drawn_id"])
    value = answer("cell", where, folder)["receipt"]["value"]
    assert value == pytest.approx(drawn["logit"], abs=1e-5)


def test_a_large_tensor_never_comes_whole(folder):
    given = answer("matrix", {"run": "gpt", "step": 3, "name": "blocks.0.mlp.up"}, folder)
    assert given["values"].size <= 128 * 128
    assert (
        answer(
            "matrix",
            {"run": "gpt", "step": 3, "name": "blocks.0.mlp.up", "lead": 1, "row": 2},
            folder,
        )["lead"]
        == 1
    )


def test_a_text_of_ones_own(folder):
    given = answer(
        "cell", {"run": "gpt", "step": 20, "text": "99 bott", "address": "logits[0,2,'b']"}, folder
    )
    own = logits(folder, "gpt", "99 ")
    assert given["receipt"]["value"] == pytest.approx(
        own[Run.open(folder / "gpt").tokenizer.encode("b")[0]].item(), abs=1e-5
    )


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("cell", {"address": "blocks.0.atn"}, "did you mean"),
        ("cell", {"address": "logits[0,999,0]"}, "outside"),
        ("cell", {"step": 999}, "no step 999 to open: choose 0 to 19"),
        ("cell", {"text": "b"}, "1 token:"),
        ("flow", {"example": 99}, "example"),
        ("flow", {"open": "nothing"}, "has no inner values"),
        ("matrix", {"name": "logits", "row": 10_000}, "no such place"),
        ("prediction", {"temperature": -1.0}, "temperature"),
        ("prediction", {"at": "worst"}, "best, last"),
        ("prediction", {"prompt": "é"}, "é"),
        ("prediction", {"prompt": "99", "position": 9}, "position"),
        (
            "places",
            {"address": "head.weight[3,7].grad", "token": "nothing"},
            "accounts for nothing",
        ),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_sentence(folder, name, params, said):
    with pytest.raises(WhenceError, match=said):
        answer(name, {"run": "gpt", **params}, folder)


def test_traces_stay_within_their_memory(folder):
    def get(traces, step):
        asked = Asked(folder, "gpt", step, "")
        return traces.get(asked.key(), lambda tell: asked.run.at(step).trace())

    size = get(Traces(), 3).nbytes
    kept = Traces(most=2 * size + 1000)
    for step in range(4):
        get(kept, step)
    keys = [Asked(folder, "gpt", step, "").key() for step in range(4)]
    states = [kept.progress(key, step)["state"] for step, key in enumerate(keys)]
    assert states == ["waiting", "waiting", "ready", "ready"]
    assert get(kept, 3) is get(kept, 3)
