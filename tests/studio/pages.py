"""Opening a view and waiting for its answer."""

from playwright.sync_api import Page, expect


def open_view(page: Page, studio, view: str, query: str) -> None:
    """Go to a view and wait until it has answered."""
    page.goto(studio.address(f"#/{view}?{query}"))
    expect(page.locator(f"[data-view={view}][data-ready]")).to_be_visible(timeout=30_000)


def number(text: str) -> float:
    """A number as a title shows it."""
    return float(text.replace("−", "-"))
