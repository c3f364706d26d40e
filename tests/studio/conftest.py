"""A studio on a free port with a tiny trained run, and a real Chromium to look at it."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.runs.tiny import RECIPE, finish, make
from tests.studio.chromium import MISSING, Watch, launch
from whence.data import text_source
from whence.runs.run import Run
from whence.studio.processes import worker
from whence.studio.server import Server, listen
from whence.studio.texts import Texts

expect.set_options(timeout=60_000)  # for a state that a busy machine reaches late


class Studio:
    """A studio served from a thread of the tests.

    Attributes:
        folder: the folder of runs.
        port: where it is served.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Serve, on the port of before where there was one."""
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self.server = Server(Texts(self.folder), self.port)
        listener.listen(64)
        self.thread = threading.Thread(target=self.server.run, args=([listener],))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def end(self) -> None:
        """Let the server end, which takes it a fifth of a second."""
        self.server.should_exit = True

    def stop(self) -> None:
        """End the server; the runs stay."""
        self.end()
        self.thread.join()

    def address(self, view: str = "#/runs") -> str:
        """An address of a view that lets one page in."""
        return self.server.address() + view

    def client(self, **options) -> httpx.Client:
        """A client that has come in as a page does."""
        base = f"http://127.0.0.1:{self.port}"
        own = {"base_url": base, "trust_env": False}
        with httpx.Client(**own, headers={"origin": base}) as stranger:
            answer = stranger.post("/enter", content=self.server.door.code())
        secret = answer.json()["secret"]
        return httpx.Client(**own, headers={"origin": base, "x-whence-secret": secret}, **options)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The folder of a finished run of 20 steps, a checkpoint at 5, 10, 15 and 20."""
    path = tmp_path_factory.mktemp("a run") / "bottles"
    finish(make(path))
    return path


@pytest.fixture(scope="session")
def ending() -> Iterator[list[Studio]]:
    """Studios that end while the next test is at work."""
    all_of_them: list[Studio] = []
    yield all_of_them
    for each in all_of_them:
        each.stop()


@pytest.fixture
def studio(tiny_run, tmp_path, ending) -> Iterator[Studio]:
    """A studio whose folder holds a copy of the tiny run, called bottles."""
    folder = tmp_path / "the runs"
    shutil.copytree(tiny_run, folder / "bottles")
    served = Studio(folder)
    yield served
    served.end()
    ending.append(served)
    for path, process in list(worker._started.items()):
        if folder in path.parents:
            process.wait(300)


@pytest.fixture
def ended():
    """Let no process outlive its test."""
    yield
    for process in worker._started.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    with sync_playwright() as playwright:
        found = launch(playwright)
        if found is None:
            pytest.skip(MISSING)
        yield found
        found.close()


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    """A browser's profile of its own; errors and requests to other machines fail the test."""
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(60_000)
    watch = Watch(made)
    made.watch = watch  # for the tests that expect an error
    yield made
    made.close()
    watch.check()


@pytest.fixture
def page(context) -> Page:
    """A page; open a view with `page.goto(studio.address("#/runs"))`."""
    return context.new_page()


@pytest.fixture(scope="session")
def scripted_run(tmp_path_factory) -> Path:
    """A run on a text with a script in it."""
    path = tmp_path_factory.mktemp("a script") / "scripted"
    recipe = replace(RECIPE, model=replace(RECIPE.model, context_length=32))
    text = "<script>alert(1)</script> and more of it\n" * 60
    finish(Run.create(recipe, path, text_source("scripted", lambda: [text])), steps=5)
    return path


@pytest.fixture
def scripted(scripted_run, tmp_path, ending) -> Iterator[Studio]:
    """A studio of that run, called scripted."""
    folder = tmp_path / "scripts"
    shutil.copytree(scripted_run, folder / "scripted")
    served = Studio(folder)
    yield served
    served.end()
    ending.append(served)
