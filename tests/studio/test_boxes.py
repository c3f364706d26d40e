"""Nothing that is drawn runs into what stands beside it, by the boxes that Chromium lays out."""

import pytest
from playwright.sync_api import Page, expect

from tests.studio.pages import open_view

# The boxes above and below each fraction's bar without the room the style gives, and of each root
# what is under it; the bar of a fraction lies between the first two.
FRACTIONS = """() => [...document.querySelectorAll('mfrac')].map(each => {
    const inner = node => [...node.querySelectorAll('mi, mn, mo, msup, mover')]
        .filter(one => !one.querySelector('mi, mn, mo')).map(one => one.getBoundingClientRect());
    const [above, below] = [...each.children].map(inner);
  return {above: Math.max(...above.map(r => r.bottom)), below: Math.min(...below.map(r => r.top))};
})"""
NET = """() => [...document.querySelectorAll('.net .unit')].map(unit => {
    const r = node => { const b = node.getBoundingClientRect();
        return [b.left, b.top, b.right, b.bottom] };
    return {box: r(unit.querySelector('.box')), texts: [...unit.querySelectorAll('.value, .slope')]
        .map(r)};
})"""
DOTS = """() => [...document.querySelectorAll('.net .bias circle')].map(node => {
    const b = node.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] })"""


@pytest.mark.parametrize("wide", [390, 1280])
@pytest.mark.parametrize(
    ("view", "query"),
    [
        ("cell", "step=7&address=blocks.0.attn.weights[0,5,3]"),
        ("receipt", "step=7&address=head.weight[3,7]"),
    ],
)
def test_fractions_keep_off_their_bars(studio, page, view, query, wide):
    page.set_viewport_size({"width": wide, "height": 800})
    open_view(page, studio, view, f"run=bottles&{query}")
    found = page.evaluate(FRACTIONS)
    assert found
    for fraction in found:
        assert fraction["below"] - fraction["above"] >= 4  # room for the bar, and beside it


def test_the_bar_of_a_root_begins_where_its_hook_ends(studio, page):
    open_view(page, studio, "receipt", "run=bottles&step=7&address=head.weight[3,7]")
    hook, under = (page.locator(f".root > {each}").bounding_box() for each in ("mo", ".under"))
    letter = page.locator(".root .hatted").bounding_box()
    assert abs(hook["x"] + hook["width"] - under["x"]) <= 3
    assert letter["y"] >= under["y"] + 1  # below the bar
    assert under["x"] <= letter["x"] + 1
    assert letter["width"] <= under["width"]


def overlaps(a: list[float], b: list[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("query", ["data=coffee&step=9", "data=three", "data=two-features&step=2"])
def test_numbers_of_a_unit_stay_in_its_box(studio, page: Page, query):
    page.goto(studio.address(f"#/play?{query}"))
    expect(page.locator("[data-view=play][data-ready]")).to_be_visible()
    units, dots = page.evaluate(NET), page.evaluate(DOTS)
    assert any(unit["texts"] for unit in units)
    for unit in units:
        left, top, right, bottom = unit["box"]
        for text in unit["texts"]:
            assert left - 0.5 <= text[0] <= text[2] <= right + 0.5
            assert top - 0.5 <= text[1] <= text[3] <= bottom + 1
            assert not any(overlaps(text, [d[0] + 2, d[1] + 2, d[2] - 2, d[3] - 2]) for d in dots)
        for one in unit["texts"]:
            others = [t for t in unit["texts"] if t is not one]
            inner = [one[0], one[1] + 3, one[2], one[3] - 3]  # a line box has room of its own
            assert not any(overlaps(inner, [t[0], t[1] + 3, t[2], t[3] - 3]) for t in others)
