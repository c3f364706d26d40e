"""A real Chromium, wherever the machine has one, that talks to this machine alone."""

import os
import shutil
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Error, Playwright, Route

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = (
    "no Chromium here: install it (Debian: apt-get install chromium; elsewhere Google Chrome, "
    "or .venv/bin/playwright install chromium)."
)
QUIET = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-default-apps"),
)


def launch(playwright: Playwright) -> Browser | None:
    """Start the machine's Chromium without a window; None where there is none."""
    arguments = [*QUIET]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to run as root with it
    found = next(filter(None, map(shutil.which, NAMES)), None)
    choices: list[dict[str, Any]] = [{"channel": "chrome"}, {"channel": "msedge"}, {}]
    for choice in [{"executable_path": found}] if found else choices:
        try:
            return playwright.chromium.launch(args=arguments, **choice)
        except Error:
            if found:
                raise
    return None


def is_local(url: str) -> bool:
    """Whether an address is of this machine, or of none."""
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


class Watch:
    """What pages of a context do that they must not: errors, and requests to other machines."""

    def __init__(self, context: BrowserContext):
        self.errors: list[str] = []
        self.foreign: list[str] = []
        context.route(lambda url: not is_local(url), self._block)
        context.on("request", self._request)
        context.on("console", lambda message: self._console(message.type, message.text))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _block(self, route: Route) -> None:
        route.abort()

    def _request(self, request) -> None:
        if not is_local(request.url):
            self.foreign.append(request.url)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)

    def check(self) -> None:
        """Fail where something was done that must not be."""
        assert not self.foreign, f"requests left this machine: {self.foreign}"
        assert not self.errors, f"errors in the console: {self.errors}"
