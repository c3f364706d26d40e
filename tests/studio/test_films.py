"""Pictures of lessons that move: by step, by play, with the run's numbers, and without motion."""

import re

import pytest
from playwright.sync_api import Page, expect

from whence.lessons import Play, lesson, moving

# A cell of each kind: what its last call is.
FILMS = {0: "moving(", 1: "descent(", 3: "moving("}


def cell_of(n: int) -> int:
    return next(c.index for c in lesson(n).cells if not c.markdown and FILMS[n] in c.source)


@pytest.fixture
def film(studio, page: Page):
    def opened(n: int):
        at = cell_of(n)
        page.goto(studio.address(f"#/journey?lesson={n}&cell={at}"))
        found = page.locator(f"[data-cell='{at}'] figure")
        expect(found.locator(".film")).to_have_attribute("data-moment", "0")
        return found

    return opened


def test_a_ball_goes_down_step_by_step(film, page):
    """Each step multiplies the distance to the bottom, 2, by 1 − 18 · 0.02: worked out by hand."""
    figure = film(0)
    ball = figure.locator(".moves .ball").first
    places = []
    for k in range(3):
        dial = 2 - 1.5 * 0.64**k
        expect(figure.get_by_role("status")).to_contain_text(f"step {k}: the dial is at {dial:.4f}")
        places.append(float(ball.get_attribute("cy")))
        figure.get_by_role("button", name="Step", exact=True).click()
    assert places == sorted(places)  # down the page
    expect(figure.locator(".film")).to_have_attribute("data-moment", "3")
    figure.get_by_role("button", name="Step back").click()
    expect(figure.locator(".film")).to_have_attribute("data-moment", "2")
    figure.get_by_role("slider", name="Frame").press("End")
    expect(figure.get_by_role("button", name="Step", exact=True)).to_be_disabled()
    expect(figure.get_by_role("status")).to_contain_text(f"at {2 - 1.5 * 0.64**12:.4f}")
    word = page.get_by_role("button", name="The steps")
    page.get_by_role("button", name="Continue").click()
    word.focus()
    expect(figure.locator(".moves .lit")).to_have_attribute("data-block", "steps")
    word.hover()  # a pointer that passes takes nothing from the keyboard
    page.mouse.move(0, 0)
    expect(figure.locator(".moves .lit")).to_have_attribute("data-block", "steps")
    word.blur()
    expect(figure.locator(".lit")).to_have_count(0)


def test_it_plays_pauses_and_ends(film, page):
    page.clock.install()
    figure = film(3)
    state = figure.locator(".film")
    expect(state).to_have_attribute("data-state", "paused")  # nothing moves unasked
    page.clock.run_for(5000)
    expect(state).to_have_attribute("data-moment", "0")
    figure.get_by_role("button", name="Play").click()
    expect(state).to_have_attribute("data-state", "playing")
    expect(figure.get_by_role("status")).to_have_attribute("aria-live", "off")
    page.clock.run_for(1000)
    expect(state).not_to_have_attribute("data-moment", "0")
    figure.get_by_role("button", name="Pause").click()
    at = state.get_attribute("data-moment")
    page.clock.run_for(5000)
    expect(state).to_have_attribute("data-moment", at or "")
    figure.get_by_role("button", name="Play").click()
    page.clock.run_for(20_000)
    expect(state).to_have_attribute("data-state", "paused")
    expect(figure.get_by_role("status")).to_contain_text("All are below 0: the unit is dead")
    figure.get_by_role("button", name="Play").click()  # from the start again
    expect(state).to_have_attribute("data-moment", "0")


@pytest.mark.parametrize(("wish", "glides"), [("reduce", False), ("no-preference", True)])
def test_who_wants_less_motion_gets_none(film, page, wish, glides):
    page.emulate_media(reduced_motion=wish)
    ball = film(1).locator(".moves .ball").first
    lasts = ball.evaluate("node => getComputedStyle(node).transitionDuration")
    assert (set(re.findall(r"[\d.]+", lasts)) != {"0"}) is glides


def test_attention_is_drawn_from_its_own_numbers():
    """The shares that are drawn are the softmax of the scores that are told before them."""
    import torch

    play = Play(lesson(9))
    at = next(c.index for c in play.lesson.cells if not c.markdown and "passing(" in c.source)
    output = play.run(at)
    told = [frame["told"] for frame in output.frames]
    scores = [float(t.rpartition(" is ")[2].replace("−", "-")) for t in told[1:-2]]
    shares = torch.tensor(scores).softmax(0)
    assert f"{shares.max():.1%}" in output.frames[-1]["svg"]
    best = play.names["sentence"][int(shares.argmax())]
    assert f"“{best}” gets" in told[-2]
    mixed = play.names["shares"] @ play.names["v"]
    assert f"{mixed[0]:.2f}".replace("-", "−") in told[-1]


def test_a_film_without_motion_shows_its_end():
    made = moving(
        "down", {"hill": [(0, 1), (1, 0)]}, [({"a": (0, 1)}, "up"), ({"a": (1, 0)}, "-1")], "x", "y"
    )
    assert made.frames[-1].svg in made.svg
    assert str(made) == "down\n  up\n  −1"
