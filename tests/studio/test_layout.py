"""Room is used: no column stands empty, no word is cut, by the boxes that Chromium lays out."""

import shutil

import pytest
from playwright.sync_api import Page, expect

from tests.studio.pages import open_view

# What a box with an example in it shows of that, in pixels: the text, and the room for it.
EXAMPLES = """() => [...document.querySelectorAll('input[placeholder]')]
    .filter(each => each.offsetWidth && !each.value).map(each => {
        const look = getComputedStyle(each);
        const pen = document.createElement('canvas').getContext('2d');
        pen.font = look.font;
        const edges = parseFloat(look.paddingLeft) + parseFloat(look.paddingRight);
        const width = pen.measureText(each.placeholder).width;
        return [each.placeholder, width, each.clientWidth - edges];
    })"""


def box(page: Page, selector: str) -> dict:
    """Where the first of these is."""
    found = page.locator(selector).first.bounding_box()
    assert found is not None
    return found


def test_the_curves_fill_the_column_beside_the_strip(studio, page):
    page.set_viewport_size({"width": 1180, "height": 800})
    open_view(page, studio, "live", "run=bottles")
    expect(page.locator(".chart")).to_have_count(3)
    loss, rate, norm = (each.bounding_box() for each in page.locator(".chart").all())
    assert loss["x"] == rate["x"] == norm["x"]
    assert rate["y"] > loss["y"] + loss["height"]
    curves, side = box(page, ".live-curves"), box(page, ".live-side")
    assert side["x"] > curves["x"] + curves["width"]


def test_a_line_of_code_beside_the_curve_keeps_its_words_whole(studio, page):
    page.set_viewport_size({"width": 1180, "height": 800})
    open_view(page, studio, "live", "run=bottles")
    expect(page.locator(".strip-place .copies")).to_be_visible(timeout=60_000)
    place, code = box(page, ".strip-place .copies"), box(page, ".strip-place .copyable code")
    label = box(page, ".strip-place .copyable .label")
    assert code["y"] >= label["y"] + label["height"]
    assert code["width"] > 0.65 * place["width"]


def test_the_loss_of_a_step_is_said_once(studio, page):
    for view, query in (("receipt", "address=head.weight[3,7]"), ("flow", "backward=true")):
        open_view(page, studio, view, f"run=bottles&step=7&{query}")
        shown = page.locator(f"[data-view={view}]").inner_text()
        assert shown.count("loss 3.") + shown.count("loss 2.") + shown.count("loss 4.") == 1


@pytest.mark.parametrize("wide", [1180, 390])
@pytest.mark.parametrize("view", ["runs", "live", "flow", "receipt"])
def test_examples_in_boxes_are_not_cut(studio, page, view, wide):
    shutil.copytree(studio.folder / "bottles", studio.folder / "other")
    page.set_viewport_size({"width": wide, "height": 800})
    open_view(page, studio, view, "" if view == "runs" else "run=bottles&step=7")
    if view == "runs":
        expect(page.get_by_label("Find runs")).to_be_visible()
        page.get_by_role("button", name="Train a model").click()
        expect(page.locator(".start .copies")).to_be_visible()
    for example, width, room in page.evaluate(EXAMPLES):
        assert width <= room + 1, example


@pytest.mark.parametrize("wide", [1180, 900, 390])
def test_buttons_stay_within_their_panel(studio, page, wide):
    page.set_viewport_size({"width": wide, "height": 800})
    open_view(page, studio, "prediction", "run=bottles&prompt=99%20b")
    inside = """all => all.filter(each => each.offsetWidth).map(each => [each.textContent,
        each.closest('.panel').getBoundingClientRect().right - each.getBoundingClientRect().right])
    """
    for name, room in page.locator(".panel button").evaluate_all(inside):
        assert room > 0, name


def test_the_next_step_stands_below_what_is_predicted(studio, page):
    page.set_viewport_size({"width": 1180, "height": 800})
    open_view(page, studio, "play", "data=moons")
    plane, lines, net = (box(page, each) for each in (".plane", ".play-lines", ".net"))
    assert lines["y"] > plane["y"] + plane["height"]
    assert lines["x"] + lines["width"] < net["x"]


def test_a_command_in_an_error_keeps_its_small_letters(studio, page, context):
    page.goto(studio.address("#/live?run=nope"))
    expect(page.get_by_role("alert")).to_be_visible()
    first = "each => getComputedStyle(each, '::first-letter').textTransform"
    why = page.locator(".why")
    expect(why).to_have_text("'whence runs' lists those there are.")
    assert why.evaluate(first) == "none"
    assert page.locator(".what-is-wrong").evaluate(first) == "uppercase"
    context.watch.errors.clear()


def test_the_lessons_of_a_phone_keep_their_names(studio, page):
    page.set_viewport_size({"width": 390, "height": 800})
    open_view(page, studio, "journey", "lesson=3")
    short, long = (page.locator(".lessons a").nth(n) for n in (1, 3))
    assert short.evaluate("a => [...a.children].every(one => one.scrollWidth <= one.clientWidth)")
    here, row = long.bounding_box(), page.locator(".lessons").bounding_box()
    assert here["x"] >= row["x"] - 1
    assert here["x"] + here["width"] <= row["x"] + row["width"] + 1
