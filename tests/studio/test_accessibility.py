"""axe-core finds nothing in any view, light and dark; the keyboard stays where it was used."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.studio.pages import open_view

VIEWS = {
    "runs": "",
    "live": "run=bottles&step=3",
    "prediction": "run=bottles&prompt=99%20bott",
    "chat": "run=bottles",
    "flow": "run=bottles&step=7&open=blocks.0",
    "cell": "run=bottles&step=7&address=blocks.0.mlp.up[0,3,5]",
    "receipt": "run=bottles&step=7&address=head.weight[3,7]",
    "compare": "a=bottles&b=bottles",
    "play": "data=moons",
    "journey": "lesson=3&cell=12",
}


COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # what a colour can break

# What they hold is made when they say that they have opened, ahead of the frame after the next.
OPENED = """async () => {
    document.querySelectorAll('details').forEach(each => each.open = true);
    for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
}"""


def violations(page: Page) -> list[str]:
    """What axe-core has against a page, light and dark, and where."""
    page.emulate_media(color_scheme="light")
    found = Axe().run(page).response["violations"]
    page.emulate_media(color_scheme="dark")  # the same elements in other colours
    found += Axe().run(page, options=COLOURS).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"][:3]]


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(studio, page, view):
    page.emulate_media(reduced_motion="reduce")
    open_view(page, studio, view, VIEWS[view])
    if view == "live":
        expect(page.locator(".strip td.p").first).to_be_visible()
        expect(page.locator(".there")).to_be_visible()
    if view == "runs":
        page.get_by_role("button", name="Train a model").click()
        expect(page.locator(".start .copies")).to_be_visible()
    if view == "receipt":
        expect(page.locator("[data-ready] .bars").nth(1)).to_be_visible()
    page.evaluate(OPENED)
    assert violations(page) == []


@pytest.mark.parametrize("bad", ["#/live?run=nope", "#/nonsense"])
def test_axe_finds_nothing_in_an_error(studio, page, context, bad):
    page.goto(studio.address(bad))
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == []
    context.watch.errors.clear()


def test_the_focus_goes_into_the_next_view(studio, page):
    open_view(page, studio, "runs", "")
    page.locator("[data-run=bottles] a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-view=live]")).to_be_focused()
    expect(page.locator("[data-view=live]")).to_have_accessible_name("Live of bottles")
    open_view(page, studio, "live", "run=bottles")
    page.get_by_role("link", name="Prediction").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-view=prediction]")).to_be_focused()


def test_no_two_pictures_have_one_name(studio, page):
    open_view(page, studio, "flow", "run=bottles&step=7&open=blocks.0")
    names = page.locator("canvas").evaluate_all("all => all.map(c => c.getAttribute('aria-label'))")
    assert len(names) == len(set(names))
    assert any("query q" in name for name in names)
    assert any("key k" in name for name in names)
