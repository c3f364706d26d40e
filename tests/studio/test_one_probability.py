"""P(next | prompt) is one number, wherever it is shown."""

from dataclasses import replace

import pytest
import torch
from playwright.sync_api import expect

from tests.runs.tiny import RECIPE, finish
from tests.studio.pages import open_view
from whence.data import text_source
from whence.runs.run import Run
from whence.studio.answers import answer

NAMES = "\n".join(["emma", "ava", "mia", "liam", "noel", "lena", "milo", "nola"] * 60) + "\n"


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Run:
    """A run on names in small letters: its tokenizer knows no space."""
    path = tmp_path_factory.mktemp("names") / "names"
    run = Run.create(replace(RECIPE, steps=30), path, text_source("names", lambda: [NAMES]))
    finish(run)
    return run


def test_the_strip_and_the_prediction_agree(names):
    folder, text = names.path.parent, "emma"
    strip = answer("strip", {"run": "names", "text": text}, folder)
    model = names.model("last")
    for i, token in enumerate(text):
        asked = {"run": "names", "prompt": text[:i], "at": "last", "top": 100}
        rows = answer("prediction", asked, folder)["rows"]
        shown = next(row["p"] for row in rows if row["token"] == token)
        assert strip["probability"][-1][i] == pytest.approx(shown, rel=1e-5)
        ids = torch.tensor([names.tokenizer.encode(text[:i] or "\n").tolist()])
        want = torch.softmax(model(ids)[0, -1].double(), -1)
        assert shown == pytest.approx(want[int(names.tokenizer.encode(token)[0])].item(), rel=1e-5)


def test_live_of_names_opens_without_an_error(names, studio, page):
    import shutil

    shutil.copytree(names.path, studio.folder / "names")
    open_view(page, studio, "live", "run=names")
    expect(page.locator(".strip td.p").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    sentence = page.get_by_label("the sentence to follow").input_value()
    assert sentence in set(NAMES.split())
    expect(page.locator(".strip-place")).to_contain_text("the text before it")
    open_view(page, studio, "prediction", "run=names&prompt=emm")
    expect(page.locator(".convention")).to_contain_text("reads exactly this text")


def test_the_report_of_names_shows_the_strip(names, tmp_path, browser):
    from whence.studio.report import report

    path = tmp_path / "names.html"
    report(names).save(path)
    page = browser.new_page()
    page.goto(path.as_uri())
    expect(page.locator(".strip td.p").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.close()
