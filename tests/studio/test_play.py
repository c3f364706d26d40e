"""View 7 in a real Chromium: its numbers are the library's, and a link holds its state."""

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from whence.errors import WhenceError
from whence.play import at
from whence.studio.answers import answer


@pytest.fixture
def play(studio, page):
    def opened(query=""):
        page.goto(studio.address(f"#/play{query}"))
        expect(page.locator("[data-view=play][data-ready]")).to_be_visible()
        return page.locator("[data-view=play]")

    return opened


def at_step(view, step):
    expect(view).to_have_attribute("data-step", str(step))


def test_the_unit_dies_and_the_page_says_why(play, page):
    view = play()
    page.get_by_role("button", name="Epoch").click()
    at_step(view, 3)
    expect(view.locator(".dead")).to_contain_text("h1 was shut by update 3")
    page.get_by_role("button", name="Epoch").click()
    at_step(view, 6)
    expect(view.locator(".facts")).to_contain_text("6.384")
    page.get_by_role("button", name="Back").click()
    at_step(view, 5)
    page.reload()
    at_step(page.locator("[data-view=play]"), 5)


def test_a_weight_is_typed_in_and_a_link_keeps_it(play, page, context, studio):
    view = play()
    view.locator(".net .edge").first.click()
    box = page.get_by_label("Value of w1")
    expect(box).to_have_value("2")
    expect(view.locator("[data-open=w1]")).to_contain_text("∂loss/∂z1")
    box.fill("1e")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("isn't a number")
    box.fill("3,5")
    box.press("Enter")
    expect(view.locator(".net .edge .weight").first).to_have_text("▲ +3.5")
    expect(view.locator(".copies")).to_contain_text("whence play three --step 0 --edits 0:w1=3.5")
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".net .edge .weight").first).to_have_text("▲ +3.5")


def test_step_by_operation_shows_the_arithmetic(play, page):
    view = play("?data=one")
    step = page.get_by_role("button", name="Operation")
    for op, line in enumerate(
        (
            "z1 = x · w1 + b1 = 2 · 2 − 3 = 1",
            "h1 = relu(z1) = relu(1) = 1",
            "ŷ = h1 · w2 + b2 = 1 · 1.5 + 0.5 = 2",
            "loss = mean of (ŷ − y)² / 2 = 2",
            "∂loss/∂ŷ = (-2) · 1 = (-2)",
            "∂loss/∂w2 = (-2) · 1 = (-2)",
        ),
        start=1,
    ):
        step.click()
        expect(view).to_have_attribute("data-op", str(op))
        expect(view.locator(".operations .last")).to_have_text(line)


def test_points_play_and_pause_without_losing_a_step(play, page):
    view = play("?data=gaussians")
    page.get_by_label("Updates per frame").select_option("5")
    page.get_by_role("button", name="Play").click()
    expect(view).to_have_attribute("data-step", re.compile(r"[2-9]\d|\d{3}"))  # an epoch is 15
    page.get_by_role("button", name="Pause").click()
    expect(page).to_have_url(re.compile("step="))
    expect(view.locator(".facts")).to_contain_text("held out")
    # Both at once: a frame that was on its way may come between two questions.
    step, shown = view.evaluate(
        "v => [+v.dataset.step, +v.querySelectorAll('.facts dd')[1].querySelector('.number').title]"
    )
    assert step % 5 == 0
    assert shown == pytest.approx(at(step, "gaussians").means[-1], rel=1e-12)


def test_settings_begin_anew_and_the_rate_goes_on(play, page):
    view = play("?data=xor&step=10")
    rate = page.get_by_label("learning rate")
    rate.focus()
    rate.press("ArrowRight")
    expect(page).to_have_url(re.compile("10%3Arate%3D0.5"))
    at_step(view, 10)
    page.get_by_role("button", name="add a unit to hidden layer 1").click()
    at_step(view, 0)
    expect(view.locator(".net .unit")).to_have_count(2 + 5 + 1)
    page.get_by_label("x1·x2").check()
    expect(view.locator(".net .unit")).to_have_count(3 + 5 + 1)


def test_keyboard_alone(play, page):
    view = play()
    net = view.locator("svg.net")
    net.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(view.locator("[data-open=w1]")).to_be_visible()
    page.get_by_role("button", name="Batch").focus()
    page.keyboard.press("Enter")
    at_step(view, 1)
    expect(page.get_by_role("button", name="Batch")).to_be_focused()


@pytest.mark.parametrize("query", ["", "?data=moons&step=30&op=4", "?data=coffee&step=9"])
def test_phone_and_dark(play, page, query):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    play(query)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_bad_link_is_answered_with_a_sentence(play, page, context):
    play("?data=moons&rate=-3")
    expect(page.get_by_role("alert")).to_contain_text("rate is -3")
    assert ["422" in error for error in context.watch.errors] == [True]
    context.watch.errors.clear()


def test_python_and_shell_give_what_is_shown(tmp_path):
    edits = ("3:w1[1,2]=-0.5", "5:rate=0.2")
    shown = answer("play", {"data": "xor", "step": 8, "hidden": [3], "edits": edits}, tmp_path)
    names = {}
    exec(shown["python"], names)
    parameters = {name: p.data for name, p in names["now"].named.items()}
    weights = [*shown["network"]["weights"]]
    weights += [unit["bias"] for layer in shown["network"]["layers"] for unit in layer]
    assert {w["name"]: w["value"] for w in weights} == parameters
    words = shown["shell"].split()[1:]
    words = [word.strip("'\"") for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "whence", *words, "--json"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["parameters"] == parameters


def test_unknown_numbers_are_refused(tmp_path):
    with pytest.raises(WhenceError, match="no number 'w99'"):
        answer("play", {"open": "w99"}, tmp_path)


def test_a_wrong_name_leads_back_to_what_there_is(play, page, context):
    view = play("?data=nothing")
    expect(page.get_by_role("alert")).to_contain_text("unknown data 'nothing'")
    expect(page.get_by_role("toolbar")).to_be_hidden()
    context.watch.errors.clear()
    page.get_by_role("button", name="Begin with the hand network").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    at_step(view, 0)
    expect(page.get_by_label("data", exact=True)).to_have_value("three")


def test_a_unit_is_seen_large_while_it_is_pointed_at(play, page):
    view = play("?data=moons&step=30")
    canvas = view.locator("canvas.plane")
    view.locator(".net .unit").nth(3).hover()
    expect(canvas).to_have_attribute("data-unit", "h1[2]")
    expect(view.locator(".plane-said")).to_contain_text("h1[2] over the plane")
    page.mouse.move(5, 5)
    expect(canvas).to_have_attribute("data-unit", "")
    view.locator("svg.net").focus()  # and by keyboard, until it leaves
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        if canvas.get_attribute("data-unit"):
            break
    assert canvas.get_attribute("data-unit")
    plane, loss = canvas.bounding_box(), view.locator(".chart").bounding_box()
    assert plane["width"] >= 400
    assert loss["y"] < plane["y"] + plane["height"]  # beside it


def test_a_thumbnail_chooses_what_is_learnt_and_a_distance_is_explained(play, page):
    view = play("?data=moons")
    page.get_by_role("button", name="coffee shop (a line)").click()
    expect(view.get_by_label("data", exact=True)).to_have_value("coffee")
    now = at(0, "coffee")
    scale = now.samples.scale
    said = view.locator(".play-scale")
    expect(said).to_contain_text(f"{scale.mean[0]:.4g}"[:4])
    expect(said).to_contain_text(f"{scale.deviation[0]:.4g}"[:4])
