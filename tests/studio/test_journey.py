"""View 8 in a real Chromium: predict first, then see; words light up blocks; exercises check."""

import re

import pytest
from playwright.sync_api import expect

from whence.errors import WhenceError
from whence.lessons import lesson
from whence.studio.answers import answer


@pytest.fixture
def journey(studio, page):
    def opened(query=""):
        page.goto(studio.address(f"#/journey{query}"))
        expect(page.locator("[data-view=journey][data-ready]")).to_be_visible()
        return page.locator("[data-view=journey]")

    return opened


def first(kind, n=3):
    return next(cell.index for cell in lesson(n).cells if cell.kind == kind)


def test_predict_first_then_reveal(journey, page):
    view = journey("?lesson=3")
    question, reveal = first("question"), first("answer")
    while int(view.get_attribute("data-step") or 0) < question:
        step = view.get_attribute("data-step") or ""
        page.get_by_role("button", name="Continue").click()
        expect(view).not_to_have_attribute("data-step", step)
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)
    expect(view.locator(f"[data-cell='{reveal}']")).to_have_count(0)
    page.get_by_role("button", name="a) about 3").click()
    expect(view.locator(f"[data-cell='{reveal}']")).to_contain_text("4.95")
    expect(view.locator(f"[data-cell='{reveal}'] .wrong")).to_be_visible()
    expect(page).to_have_url(re.compile("choices="))
    page.reload()
    chosen = page.get_by_role("button", name="a) about 3")
    expect(chosen).to_have_attribute("aria-pressed", "true")


def test_a_word_lights_up_its_block_by_mouse_and_keyboard(journey, page):
    view = journey("?lesson=3&cell=5")
    word = view.get_by_role("button", name="the loss", exact=True)
    word.hover()
    expect(view.locator("svg .lit")).to_have_attribute("data-block", "loss")
    page.mouse.move(0, 0)
    expect(view.locator("svg .lit")).to_have_count(0)
    word.focus()
    expect(view.locator("svg .lit")).to_have_attribute("data-block", "loss")


def test_an_exercise_checks_itself(journey, page):
    at = first("exercise", 2)
    view = journey(f"?lesson=2&cell={at}")
    cell = view.locator(f"[data-cell='{at}']")
    expect(cell.get_by_role("status")).to_have_count(0)
    box = cell.get_by_role("textbox").first
    box.fill("0.09")
    box.press("Enter")
    expect(cell.get_by_role("status")).to_be_visible()
    expect(cell.get_by_role("status")).to_be_focused()  # not thrown to the top of the page
    box.fill("a lot")
    expect(cell.get_by_role("status")).to_have_count(0)  # that was of another entry
    box.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("isn't a number")
    expect(cell.get_by_role("status")).to_have_count(0)
    page.context.watch.errors.clear()


def test_phone_dark_and_the_way_to_the_next_lesson(journey, page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    view = journey("?lesson=0&cell=3")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Show the whole lesson").click()
    # The picture's words stay readable: it is moved sideways, and the keyboard reaches it.
    picture = view.locator(".wide-picture").first
    assert picture.evaluate("node => node.scrollWidth > node.clientWidth && node.tabIndex === 0")
    height = picture.locator("text").first.evaluate("node => node.getBoundingClientRect().height")
    assert height > 12
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Next: A line").click()
    expect(view.get_by_role("heading", level=1)).to_have_text("1 · A line")
    page.evaluate("location.hash = '#/journey?lesson=7'")
    expect(view.locator(".lessons [aria-current]")).to_be_in_viewport(ratio=1)


def test_a_single_letter_is_set_in_italics_by_itself(journey):
    letters = journey("?lesson=8").locator(".told em").all_inner_texts()
    assert {"h", "x", "c", "f", "i"} <= set(letters)
    assert not any("*" in letter for letter in letters)


def test_numbers_in_the_prose_are_the_run_s(tmp_path):
    shown = answer("journey", {"lesson": 3, "cell": 12}, tmp_path)["cells"]
    prose = " ".join(cell["markdown"] for cell in shown)
    for figure in ("4.95", "0.45125", "2.6130", "6.3838", "3.1174"):
        assert figure in prose


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"lesson": 99}, "no lesson '99'"),
        ({"lesson": 3, "cell": 999}, "no cell 999"),
        ({"lesson": 3, "choices": ["c"]}, "choices has 'c'"),
        ({"lesson": 3, "cell": 6, "choices": ["6:z"]}, "an answer"),
    ],
)
def test_refusals(params, said, tmp_path):
    with pytest.raises(WhenceError, match=said):
        answer("journey", params, tmp_path)


def test_a_number_is_moved_and_the_picture_follows(journey, page):
    at = first("exercise", 7)
    view = journey(f"?lesson=7&cell={at}")
    cell = view.locator(f"[data-cell='{at}']")
    slider = cell.get_by_role("slider", name="the rate")
    curve = cell.locator("svg .curve").first
    before = curve.evaluate("node => node.outerHTML")
    expect(cell.get_by_role("status")).not_to_contain_text("Right")
    slider.focus()
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "0.1")
    expect(cell.get_by_role("status")).to_contain_text("over the edge")
    expect(slider).to_be_focused()  # it stays under the hand
    assert curve.evaluate("node => node.outerHTML") != before
    slider.fill("82")
    expect(cell.get_by_role("status")).to_contain_text("Right")
    rate = float(slider.get_attribute("aria-valuetext"))
    u, v = 9.0, 1.0  # the valley by hand: u shrinks by 1 - rate, v by 1 - 40 rate
    u, v = u * (1 - rate) ** 60, v * (1 - 40 * rate) ** 60
    expect(cell.get_by_role("status")).to_contain_text(f"{(u * u + 40 * v * v) / 2:.3g}")


def test_a_finished_lesson_has_a_tick(journey, page):
    view = journey("?lesson=0")
    expect(view.locator("[data-done]")).to_have_count(0)
    page.get_by_role("button", name="Show the whole lesson").click()
    expect(view.locator("[data-done]")).to_have_count(1)
    page.get_by_role("button", name="Next: A line").click()
    expect(view.locator(".lessons li").first).to_contain_text("finished")


def test_while_an_experiment_runs_the_time_left_is_told(journey, page):
    slow = next(cell.index for cell in lesson(12).cells if cell.seconds)
    told = []
    page.on("request", lambda r: told.append(1) if r.url.endswith("/ask/running") else None)
    journey("?lesson=12")
    page.route("**/ask/running", lambda route: route.continue_())
    page.evaluate(f"location.hash = '#/journey?lesson=12&cell={slow}'")
    expect(page.locator(".experiment progress")).to_be_visible()
    expect(page.locator(".experiment")).to_contain_text("left")
