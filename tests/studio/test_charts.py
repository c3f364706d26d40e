"""Curves of a long run: every step is reached, and a stretch shows its own points."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.runs.tiny import RECIPE, finish, make
from tests.studio.long import LOSSES, STEPS, long_run
from tests.studio.pages import open_view
from whence.errors import WhenceError
from whence.studio.answers import answer


@pytest.fixture
def long(studio):
    """The studio with a run of 3,000 steps in it."""
    long_run(studio.folder / "long")
    return studio


def shown_loss(page: Page) -> float:
    title = page.locator(".chart .legend .key .number").first.get_attribute("title") or ""
    return float(title.replace("\u2212", "-"))


def test_points_of_a_stretch_are_those_of_the_record(tmp_path):
    long_run(tmp_path / "long")
    whole = answer("points", {"run": "long"}, tmp_path)
    assert not whole["whole"]
    assert len(whole["curves"]["loss"]["step"]) <= 802
    part = answer("points", {"run": "long", "first": 1000, "last": 1700}, tmp_path)
    assert part["whole"]
    assert part["curves"]["loss"]["step"].tolist() == list(range(1000, 1701))
    assert part["curves"]["loss"]["value"].tolist() == LOSSES[1000:1701].tolist()


def test_smoothing_averages_all_steps(tmp_path):
    """Against the weighted mean that it is defined as, worked out by NumPy at single steps."""
    long_run(tmp_path / "long")
    found = answer("points", {"run": "long", "smoothing": 0.95}, tmp_path)["curves"]["smooth"]
    for step, value in list(zip(found["step"], found["value"], strict=True))[::97]:
        weights = 0.95 ** np.arange(step, -1, -1.0)
        assert value == pytest.approx(np.average(LOSSES[: step + 1], weights=weights))
    with pytest.raises(WhenceError, match="from 0 to below 1"):
        answer("points", {"run": "long", "smoothing": 1.0}, tmp_path)


def test_keyboard_and_box_reach_every_step(long, page):
    open_view(page, long, "live", "run=long")
    drawn = answer("live", {"run": "long"}, long.folder)["curves"]["loss"]["step"].tolist()
    between = next(k for k in range(5, STEPS) if k not in drawn)  # no point of the drawing
    chart = page.get_by_role("slider", name="Loss", exact=True)
    chart.focus()
    page.keyboard.press("Home")
    for _ in range(between):
        page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", str(between))
    expect(page.locator(".chart .legend").first).not_to_contain_text("\u2026")
    assert shown_loss(page) == LOSSES[between]
    other = next(k for k in range(1234, STEPS) if k not in drawn)
    page.get_by_label("Step to go to").fill(str(other))
    page.keyboard.press("Enter")
    expect(page.locator(f".there[data-step='{other}']")).to_be_visible()
    expect(page.locator(".chart .legend .step").first).to_have_text(f"step {other:,}")
    expect(page.locator(".chart .legend").first).not_to_contain_text("\u2026")
    assert shown_loss(page) == LOSSES[other]
    page.get_by_label("Step to go to").fill("3001")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("a step of this run")


def test_a_stretch_dragged_over_shows_its_own_points(long, page):
    open_view(page, long, "live", "run=long")
    chart = page.get_by_role("slider", name="Loss", exact=True)
    box = chart.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 200, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 230, y, steps=3)
    page.mouse.up()
    figure = page.locator(".chart[data-range]")
    expect(figure).to_have_count(1)
    first, last = map(int, (figure.get_attribute("data-range") or "").split("-"))
    assert 0 < first < last < STEPS
    assert last - first < 400
    path = figure.locator("path.line").first.get_attribute("d") or ""
    assert path.count("M") + path.count("L") == last - first + 1
    assert page.locator(".there").count() == 0  # a drag is no click
    page.get_by_role("button", name="Show all steps of Loss", exact=True).click()
    expect(page.locator(".chart[data-range]")).to_have_count(0)


def test_smoothing_leaves_the_raw_curve_faded(long, page):
    open_view(page, long, "live", "run=long")
    page.get_by_label("Smoothing of the loss").fill("0.9")
    expect(page.locator(".chart path.line.faded")).to_have_count(1)
    expect(page.locator(".legend").first).to_contain_text("smoothed (0.9)")
    slide = page.get_by_label("Smoothing of the loss")
    slide.fill("0")
    expect(page.locator(".chart path.line.faded")).to_have_count(0)


def test_axes_have_names_and_ticks(long, page):
    open_view(page, long, "live", "run=long")
    for chart in page.locator(".chart").all():
        assert chart.locator(".axis-name").all_text_contents()[0] == "step"
        assert len(chart.locator(".axis-name").all()) == 2
        for axis in ("tick-x", "tick-y"):
            assert chart.locator(f".{axis}").count() >= 4


def test_losses_that_do_not_compare_are_told(studio, page):
    """Dropout is in the training loss alone; without it there is nothing to tell."""
    from dataclasses import replace

    from tests.runs.tiny import RECIPE, finish, make

    wet = replace(RECIPE, model=replace(RECIPE.model, dropout=0.25), steps=5)
    finish(make(studio.folder / "wet", wet))
    open_view(page, studio, "live", "run=wet")
    expect(page.locator(".losses")).to_contain_text("dropout 0.25")
    open_view(page, studio, "live", "run=bottles")
    expect(page.locator(".losses")).to_be_hidden()
    expect(page.locator(".facts")).to_contain_text("tokens/s, last 50 steps")


def test_a_strip_of_many_checkpoints_stays_within_the_page(studio, page):
    recipe = replace(RECIPE, steps=25, record=replace(RECIPE.record, checkpoint_every=1))
    finish(make(studio.folder / "many", recipe))
    page.set_viewport_size({"width": 1180, "height": 900})
    open_view(page, studio, "live", "run=many")
    expect(page.locator(".strip td.p").first).to_be_visible()
    right = "each => Math.max(...each.map(one => one.getBoundingClientRect().right))"
    assert page.locator(".live-side > *").evaluate_all(right) <= 1180


def test_figures_of_an_axis_dont_touch(long, page):
    page.set_viewport_size({"width": 390, "height": 800})
    open_view(page, long, "live", "run=long")
    ticks = page.locator(".chart").first.locator(".tick-x")
    expect(ticks.nth(2)).to_be_visible()
    boxes = []
    for _ in range(200):  # the chart is drawn again as it is told how wide it may be
        boxes = ticks.evaluate_all("all => all.map(each => each.getBoundingClientRect().toJSON())")
        if len(boxes) > 2 and all(a["right"] < b["left"] for a, b in pairwise(boxes)):
            return
        page.wait_for_timeout(50)
    raise AssertionError(boxes)
