"""What the flow shows is what the model reads and predicts: of a text, and of a pair."""

import shutil
from itertools import pairwise

import pytest
import torch
from playwright.sync_api import expect

from tests.runs.tiny import RUNGS, finish, make
from tests.studio.pages import open_view
from whence.runs.run import Run
from whence.studio.answers import answer


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Run:
    run = make(tmp_path_factory.mktemp("pairs") / "pairs", RUNGS["seq2seq"], steps=6)
    finish(run)
    return run


def test_every_typed_token_is_read(studio, page):
    text = "99 bottles"
    open_view(page, studio, "flow", f'run=bottles&step=20&text="{text}"')
    expect(page.locator(".flow-token")).to_have_count(len(text))
    expect(page.locator(".flow-next")).to_have_count(len(text))
    shown = answer("flow", {"run": "bottles", "step": 20, "text": text}, studio.folder)
    run = Run.open(studio.folder / "bottles")
    ids = torch.tensor([run.tokenizer.encode(text).tolist()])
    with torch.no_grad():
        p = run.model(20)(ids)[0].softmax(-1)
    for row, want in zip(shown["predictions"], p, strict=True):
        assert row["p"] == pytest.approx(want.topk(3).values.tolist(), rel=1e-5)
    assert shown["predictions"][-1]["target"] is None  # nothing stands there
    # The loss is that of the tokens that have one after them.
    want = torch.nn.functional.nll_loss(p[:-1].log(), ids[0, 1:])
    assert shown["loss"] == pytest.approx(want.item(), rel=1e-5)


def test_a_text_as_long_as_the_window_and_one(studio):
    run = Run.open(studio.folder / "bottles")
    window = run.recipe.model.context_length
    text = ("99 bottles of beer " * 3)[: window + 1]
    for length, read in ((window, window), (window + 1, window)):
        asked = {"run": "bottles", "step": 20, "text": text[:length]}
        shown = answer("flow", asked, studio.folder)
        assert len(shown["predictions"]) == read
        taught = [row["target"] for row in shown["predictions"]]
        assert taught[: length - 1] == list(text[1:length])


def test_an_encoder_decoder_predicts_where_it_predicts(pairs):
    """A row for each token of the target, none for the source, as the decoder says."""
    folder, source, target = pairs.path.parent, "9 bottles", "009"
    shown = answer("flow", {"run": "pairs", "step": 6, "text": f"{source}\t{target}"}, folder)
    streams = {stage["stream"] for stage in shown["stages"] if stage["tile"]}
    assert streams == {0, 1}
    model, tokenizer = pairs.model(6), pairs.tokenizer
    ids = [torch.tensor([tokenizer.encode(t).tolist()]) for t in (source, "\t" + target)]
    with torch.no_grad():
        p = model.decode(ids[1], model.encode(ids[0]))[0].softmax(-1)
    assert len(shown["predictions"]) == len(target) + 1
    for row, want in zip(shown["predictions"], p, strict=True):
        assert row["p"] == pytest.approx(want.topk(3).values.tolist(), rel=1e-5)
    assert [row["target"] for row in shown["predictions"]] == [*target, "\n"]


def test_no_ribbon_leads_from_the_source_to_the_target(pairs, studio, page):
    shutil.copytree(pairs.path, studio.folder / "pairs")
    open_view(page, studio, "flow", "run=pairs&step=5")
    answered = answer("flow", {"run": "pairs", "step": 5}, studio.folder)
    stages = [stage for stage in answered["stages"] if stage["tile"]]
    within = sum(a["stream"] == b["stream"] for a, b in pairwise(stages))
    expect(page.locator(".flow-between")).to_have_count(within)
    expect(page.locator(".flow-cross")).to_have_count(1)
    expect(page.locator(".flow-tokens")).to_have_count(2)
