"""The prediction table in a real Chromium: what it shows is what the model says."""

import re

import torch
from playwright.sync_api import expect

from tests.studio.pages import number, open_view
from whence.runs.run import Run


def of_table(page, column: int) -> dict[int, float]:
    """A column's numbers with all their digits, by token."""
    found = {}
    for row in page.locator("tr[data-token]").all():
        cell = row.locator("td").nth(column).locator(".number")
        found[int(row.get_attribute("data-token"))] = number(cell.get_attribute("title"))
    return found


def test_the_table_shows_the_models_probabilities(studio, page):
    open_view(page, studio, "prediction", 'run=bottles&prompt="99 bott"&temperature=0.5&top_k=4')
    run = Run.open(studio.folder / "bottles")
    ids = torch.tensor([run.tokenizer.encode("99 bott").tolist()])
    with torch.no_grad():
        logits = run.model("best")(ids)[0, -1]
    for column, oracle in ((0, logits), (1, logits.softmax(-1)), (4, (logits / 0.5).softmax(-1))):
        shown = of_table(page, column)
        assert len(shown) >= 20
        assert all(abs(x - oracle[i].item()) < 1e-6 for i, x in shown.items())
    expect(page.locator("tr.dropped")).to_have_count(page.locator("tr[data-token]").count() - 4)
    expect(page.locator("tr.drawn .flag")).to_have_text("drawn")
    expect(page.get_by_text("P at temperature 0.5")).to_be_visible()


def test_predicting_from_a_step_of_the_curve(studio, page):
    """Also from one that no checkpoint holds."""
    open_view(page, studio, "live", "run=bottles&step=7")
    page.get_by_role("button", name="Predict from here").click()
    expect(page.locator("[data-view=prediction][data-ready]")).to_be_visible()
    expect(page.get_by_label("Checkpoint")).to_have_value("7")
    run = Run.open(studio.folder / "bottles")
    assert 7 not in run.checkpoints
    with torch.no_grad():
        logits = run.at(7).model(torch.tensor([run.tokenizer.encode("\n").tolist()]))[0, -1]
    shown = of_table(page, 1)
    assert all(abs(p - logits.softmax(-1)[i].item()) < 1e-6 for i, p in shown.items())
    page.get_by_label("Checkpoint").select_option("20")
    expect(page.locator(".copies")).to_contain_text("--checkpoint 20")


def test_typing_sliding_and_writing_on(studio, page):
    open_view(page, studio, "prediction", "run=bottles")
    page.get_by_label("Prompt").fill("99 b")
    expect(page.locator(".chip:not(.next)")).to_have_count(4)
    page.get_by_role("slider", name="top-k").fill("1")
    expect(page.locator("tr[data-token]:not(.dropped)")).to_have_count(1)
    drawn = page.locator(".chip.next").inner_text()
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator(".chip.written")).to_have_text([drawn])
    expect(page).to_have_url(re.compile("written=1"))
    page.reload()
    expect(page.locator(".chip.written")).to_have_text([drawn])
    page.get_by_role("button", name="Back").click()
    expect(page.locator(".chip.written")).to_have_count(0)


def test_a_chip_shows_what_training_teaches_by_keyboard(studio, page):
    open_view(page, studio, "prediction", 'run=bottles&prompt="bottles"')
    page.locator(".chip").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr.target .flag")).to_have_text("target")
    expect(page.get_by_role("columnheader", name="p − y")).to_be_visible()
    rows = of_table(page, 1)
    assert 0 < sum(rows.values()) < 1.000001


def test_what_cannot_be_read_is_said(studio, page, context):
    open_view(page, studio, "prediction", "run=bottles")
    page.get_by_label("Prompt").fill("<script>alert(1)</script>")
    expect(page.get_by_role("alert")).to_be_visible()
    assert context.watch.errors
    context.watch.errors.clear()
    page.get_by_label("Prompt").fill("beer")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_script_in_the_text_is_text(scripted, page):
    page.on("dialog", lambda dialog: dialog.dismiss())
    open_view(page, scripted, "prediction", 'run=scripted&prompt="<script>alert(1)</script>"')
    expect(page.locator(".chip:not(.next)")).to_have_count(len("<script>alert(1)</script>"))
    assert page.locator("main script").count() == 0
    expect(page.locator(".copies")).to_contain_text("<script>alert(1)</script>")


def test_a_phone_in_the_dark(studio, page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    open_view(page, studio, "prediction", 'run=bottles&prompt="beer"')
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    command = page.locator(".copies code").nth(1).inner_text()
    assert re.match(r"whence generate .*bottles'? beer --show-probabilities", command)
