"""Make pictures of the studio's views from real runs: `python docs/pictures.py studio [FOLDER]`.

Without a folder of runs it trains two small ones on made-up stories first, which takes a minute or
two. Each view is taken light and dark, and as wide as a phone; the README shows some of them.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.studio.chromium import MISSING, launch
from whence.models import GPTConfig
from whence.runs.fork import fork
from whence.runs.recipe import Data, Recipe, Record
from whence.runs.run import Run
from whence.studio.server import Server, listen
from whence.studio.texts import Texts

IMAGES = Path(__file__).resolve().parent / "images"
# name: (the view's address, what must be there before the picture is taken)
VIEWS = {
    "runs": ("#/runs", ".sparkline"),
    "live": ("#/live?run=stories-1", ".strip td.p"),
    "prediction": ("#/prediction?run=stories-1&prompt=Once%20upon%20a", "[data-ready]"),
    "chat": ("#/chat?run=stories-1&max_tokens=80", "[data-ready]"),
    "flow": (
        "#/flow?run=stories-1&step=100&text=The%20king%20had%20a&open=blocks.0",
        "[data-ready]",
    ),
    "cell": (
        "#/cell?run=stories-1&step=100&address=logits[0,5,3]",
        "[data-ready]",
    ),
    "receipt": (
        "#/receipt?run=stories-1&step=100&address=blocks.0.mlp.up.weight[3,7]",
        "[data-ready]",
    ),
    "play": ("#/play?data=moons&step=60", "[data-ready]"),
    "journey": ("#/journey?lesson=7&cell=15", ".dial input"),
    "compare": ("#/compare?a=stories-1&b=slower", "[data-ready] .line"),
}
LOOKS = {
    "": (1180, "light"),
    "-dark": (1180, "dark"),
    "-phone": (390, "light"),
}
TALL = 1400  # pixels of a picture at most


def main(words: list[str]) -> None:
    """Take all pictures."""
    folder = Path(words[0]) if words else Path("runs")
    if not words:
        os.chdir(tempfile.mkdtemp())
        train(folder)
    listener = listen(0)
    server = Server(Texts(folder), listener.getsockname()[1])
    listener.listen(16)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        take(server.address)
    finally:
        server.should_exit = True
        thread.join()


def train(folder: Path) -> None:
    """Two runs: one on stories, and a fork of it with a lower rate."""
    recipe = Recipe(
        data=Data(("stories",)),
        model=GPTConfig(n_layers=2, n_heads=4, d_model=64, context_length=64),
        record=Record(evaluate_tokens=5000, checkpoint_every=50, evaluate_every=50),
        steps=1000,
    )
    run = Run.create(recipe, folder / "stories-1")
    for _ in run.train():
        pass
    slower = fork(run, 300, folder / "slower", {"optimizer.learning_rate": 0.003})
    for _ in slower.train():
        pass


def talk(page: Page) -> None:
    """Let the model answer, and look at a token that could well have been another."""
    page.get_by_label("Your message").fill("In a house by the sea there lived")
    page.get_by_role("button", name="Send").click()
    page.locator("[data-view=chat][data-ready='1']").wait_for(timeout=120_000)
    tokens = page.locator(".talk-token")
    unsure = tokens.evaluate_all(
        "all => all.map(each => parseFloat(each.style.getPropertyValue('--unsure')))"
    )
    tokens.nth(unsure.index(max(unsure))).hover()


def take(address: Callable[[], str]) -> None:
    """Take each view in each look."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            sys.exit(MISSING)
        for look, (width, scheme) in LOOKS.items():
            context = browser.new_context(
                viewport={"width": width, "height": 800},
                color_scheme=scheme,
                reduced_motion="reduce",  # a curve that is still being drawn would be half a curve
            )
            page = context.new_page()
            for name, (view, there) in VIEWS.items():
                page.goto("about:blank")
                page.goto(address() + view)
                page.locator(there).first.wait_for(timeout=120_000)
                if name == "chat":
                    talk(page)
                page.wait_for_timeout(500)
                tall = page.evaluate("document.documentElement.scrollHeight")
                clip = {"x": 0, "y": 0, "width": width, "height": min(TALL, tall)}
                path = IMAGES / f"studio-{name}{look}.png"
                page.screenshot(path=path, full_page=True, clip=clip)
                print(f"{path}: {path.stat().st_size // 1000} kB")
            context.close()
        browser.close()
