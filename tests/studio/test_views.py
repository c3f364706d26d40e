"""The views in a real Chromium."""

from playwright.sync_api import expect


def test_runs_leads_to_a_run(studio, page):
    page.goto(studio.address())
    expect(page.locator("[data-view=runs][data-ready]")).to_be_visible()
    assert "token" not in page.url
    page.get_by_role("link", name="bottles").click()
    expect(page.locator("[data-view=live][data-ready]")).to_be_visible()
    expect(page.get_by_role("heading", name="bottles")).to_be_visible()
