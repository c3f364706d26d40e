"""What went wrong is told in one way: what, why, a button; and no control that leads nowhere."""

import re

import pytest
from playwright.sync_api import expect

BAD = {
    "a run that isn't": ("#/live?run=nope", "Show the runs"),
    "a run that isn't, predicted": ("#/prediction?run=nope", "Show the runs"),
    "a run that isn't, opened": ("#/cell?run=nope", "Show the runs"),
    "a run that isn't, at a step": ("#/receipt?run=nope&step=3", "Show the runs"),
    "a step that isn't": ("#/flow?run=bottles&step=9999", "Open the last step"),
    "a step that isn't, of a weight": ("#/receipt?run=bottles&step=9999", "Open the last step"),
    "one run compared": ("#/compare?a=bottles", "Show the runs"),
    "a view that isn't": ("#/nonsense", "Show the runs"),
    "a lesson that isn't": ("#/journey?lesson=99", "Show the runs"),
    "data that isn't": ("#/play?data=tea", "Begin with the hand network"),
}


@pytest.mark.parametrize("bad", BAD)
def test_an_address_that_leads_nowhere(studio, page, context, bad):
    address, way = BAD[bad]
    page.goto(studio.address(address))
    alert = page.get_by_role("alert")
    expect(alert).to_have_count(1)
    expect(alert.locator(".what-is-wrong")).not_to_be_empty()
    expect(alert.get_by_role("button", name=way)).to_be_visible()
    main = page.locator("main")
    expect(main).not_to_contain_text("undefined")
    outside = main.locator("button:visible, input:visible, select:visible, textarea:visible")
    assert outside.count() == alert.locator("button").count()
    context.watch.errors.clear()  # the browser tells of the refusal
    alert.get_by_role("button", name=way).click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("[data-ready]").first).to_be_visible()


def test_a_dead_server_is_told_as_what_it_is(studio, page, context):
    """Nothing trains here, so nothing is said to go on; controls wait until it is back."""
    page.goto(studio.address("#/live?run=bottles"))
    expect(page.locator(".strip td.p").first).to_be_visible()
    studio.stop()
    try:
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The studio isn't responding")
        expect(alert).not_to_contain_text(re.compile("training", re.IGNORECASE))
        expect(alert.get_by_role("button", name="Try again")).to_be_visible()
        expect(page.get_by_role("button", name="Fork")).to_be_hidden()
        page.close()  # it asks again and again, and the browser tells of each refusal
        context.watch.errors.clear()
    finally:
        studio.start()


def test_a_damaged_run_takes_a_few_lines(studio, page):
    (studio.folder / "broken").mkdir()
    (studio.folder / "broken" / "run.toml").write_text("nothing")
    page.goto(studio.address())
    why = page.locator("[data-why=broken]")
    expect(why.get_by_role("alert")).to_contain_text("run.toml is damaged")
    box = why.bounding_box()
    assert box["height"] < 150
    assert page.locator("[data-run=broken]").bounding_box()["height"] < 80


@pytest.mark.parametrize("view", ["flow", "cell", "receipt", "live", "prediction"])
def test_a_phone_shows_the_runs_name(studio, page, view):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(studio.address(f"#/{view}?run=bottles"))
    name = page.locator(".bar .run-name")
    expect(name).to_have_text("bottles")
    assert name.bounding_box()["width"] > 30
