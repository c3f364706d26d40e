"""Stored steps of watched loops, opened by the page once the person has said what builds them."""

import pytest
import torch

from tests.doctor.loops import train
from whence.errors import WhenceError
from whence.studio.answers import answer
from whence.studio.answers.inside.asking import Loop
from whence.studio.answers.place import BUILD


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("loops")
    train(path / "loop", steps=6, keep="all")
    return path


def test_without_the_persons_word_nothing_is_built(folder, monkeypatch):
    monkeypatch.delenv(BUILD, raising=False)
    with pytest.raises(WhenceError, match=r"start the studio with --model my_module:build"):
        answer("receipt", {"run": "loop"}, folder)


def test_a_weights_receipt_is_what_the_loop_did(folder, monkeypatch):
    """Oracle: torch's own AdamW, whose state the next step has stored."""
    monkeypatch.setenv(BUILD, "tests.doctor.loops:Tiny")
    given = answer("receipt", {"run": "loop", "step": 4, "address": "head.weight[3,7]"}, folder)
    after = answer("receipt", {"run": "loop", "step": 5, "address": "head.weight[3,7]"}, folder)
    head = given["head"]
    assert head["new"] == after["head"]["old"]
    assert torch.tensor(head["old"] + head["change"]) == torch.tensor(head["new"])
    assert head["rule"] == "adam"
    assert "--model tests.doctor.loops:Tiny" in given["shell"]
    shares = answer(
        "attribution", {"run": "loop", "step": 4, "address": given["target"], "by": "example"},
        folder,
    )  # fmt: skip
    added = sum(s["value"] for s in shares["shares"]) + shares["others"]["value"]
    assert added + shares["rounding"] == pytest.approx(shares["value"])
    cell = answer("cell", {"run": "loop", "step": 4, "address": "head.weight.grad"}, folder)
    assert cell["step"] == 4


def test_a_step_that_is_not_stored_is_named(folder, monkeypatch):
    monkeypatch.setenv(BUILD, "tests.doctor.loops:Tiny")
    with pytest.raises(WhenceError, match="hasn't stored step 77"):
        answer("receipt", {"run": "loop", "step": 77}, folder)


def test_the_step_before_is_offered_where_it_is_stored(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(BUILD, "tests.doctor.loops:Tiny")
    assert [Loop(folder / "loop", step).has_before for step in (0, 1, 5)] == [False, True, True]
    train(tmp_path / "some", steps=9, keep="every 4")
    assert not Loop(tmp_path / "some", 8).has_before
