"""Opening a view and waiting for its answer."""

from playwright.sync_api import Page, expect


def open_view(page: Page, studio, view: str, query: str) -> None:
    """Go to a view and wait until it has answered."""
    page.goto(studio.address(f"#/{view}?{query}"))
    ready = page.locator(f"[data-view={view}][data-ready]")
    expect(ready).to_be_visible(timeout=200_000)  # the first answer may wait for a new process


def number(text: str) -> float:
    """A number as a title shows it."""
    return float(text.replace("−", "-"))
