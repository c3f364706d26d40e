"""The studio: first paint and readiness on long runs, a receipt, and what watching costs.

Each in a real Chromium on this machine, which therefore also pays for drawing.
"""

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from benchmarks.timing import table
from tests.studio.chromium import MISSING, launch
from whence.data import text_source
from whence.models import GPTConfig
from whence.runs.recipe import Data, Recipe, Record
from whence.runs.run import Run
from whence.runs.store.records.record import Logs
from whence.runs.training.events import Stepped
from whence.studio.answers import ANSWERS

STEPS = 10_000
ROUNDS = 4
WATCHED = 3.0  # seconds of a training in each half of a pair


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, sync_playwright() as p:
        folder = Path(name) / "runs"
        browser = launch(p)
        if browser is None:
            print(MISSING)
            return
        long_run(folder)
        served = Served(folder)
        try:
            for measure in (first_paint, ready, receipt, watching):
                rows = measure(browser, served, folder)
                if rows:
                    table(rows)
        finally:
            served.close()
            browser.close()


class Served:
    """A studio in a process of its own, as a person has it."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whence", "studio", "--no-browser", "--runs", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        address = self.address()
        self.base, _, code = address.partition("/?code=")
        answer = httpx.post(f"{self.base}/enter", content=code, headers={"origin": self.base})
        self.secret = answer.json()["secret"]

    def address(self) -> str:
        """The address that the studio printed next: each lets one page in."""
        assert self.process.stdout
        line = ""
        while "?code=" not in line:
            line = self.process.stdout.readline()
        return line.split()[-1]

    def client(self) -> httpx.Client:
        """Something that asks as the page does."""
        headers = {"origin": self.base, "x-whence-secret": self.secret}
        return httpx.Client(base_url=self.base, headers=headers, timeout=120)

    def close(self) -> None:
        """End the studio."""
        self.process.terminate()
        self.process.wait()


SMALL = GPTConfig(n_layers=2, n_heads=4, d_model=64, context_length=64)


def made(folder: Path, name: str, steps: int, model: GPTConfig = SMALL) -> Run:
    text = "the cat sat on the mat and looked at the dog on the log\n" * 400
    recipe = Recipe(
        data=Data(("cats",)),
        model=model,
        record=Record(evaluate_every=STEPS, sample_tokens=0, evaluate_tokens=1000),
        steps=steps,
    )
    return Run.create(recipe, folder / name, text_source("cats", lambda: [text]))


def long_run(folder: Path) -> None:
    """A run whose record has 10,000 steps; its curve is a noisy one, as real ones are."""
    run = made(folder, "long", STEPS)
    import numpy as np

    noise = np.random.default_rng(0).standard_normal(STEPS)
    logs = Logs(run.path, run.header.id)
    logs.steps.replace(
        [
            Stepped(
                k, 4 * (k + 1) ** -0.2 + 0.05 * float(noise[k]), 1e-3, 1.0, 0.01, 512
            ).to_record()
            for k in range(STEPS)
        ]
    )


# Go somewhere and wait for a node, in the page itself: seen from outside it is looked for at ever
# longer intervals, the last of half a second.
SEEN = """([hash, selector]) => new Promise((resolve) => {
    const look = () => document.querySelector(selector) && (watch.disconnect(), resolve());
    const watch = new MutationObserver(look);
    watch.observe(document, { subtree: true, childList: true, attributes: true });
    if (hash) location.hash = hash;
    look();
})"""


def first_paint(browser: Browser, served: Served, folder: Path) -> list[dict]:
    """From the click to the drawn curve of a run that the studio hasn't read yet; then again."""
    seconds = []
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        start = time.perf_counter()
        page.goto(f"{served.address()}#/live?run=long")
        page.evaluate(SEEN, [None, "[data-view=live][data-step='10000'] .chart .line"])
        seconds.append(time.perf_counter() - start)
        context.close()
    told = f"{seconds[0]:.2f} / {statistics.median(seconds):.2f}"
    return [row("first paint, 10,000 steps", "first / median s", told)]


LONG = 12_000
VIEWS = {  # what a view is asked, and the seconds within which it should be ready
    "prediction": ("run=ready&prompt=the%20cat", 0.7),
    "receipt": ("run=ready", 0.7),
    "cell": ("run=ready", 0.7),
    "flow": ("run=ready", 1.5),
    "compare": ("a=ready&b=other", 0.7),
}


def ready(browser: Browser, served: Served, folder: Path) -> list[dict]:
    """From the click to the answer on the page, the first that a studio is asked about a run.

    The run has 12,000 real steps and the checkpoints that a run has where nobody chose; the step is
    the last one, as where a link names none. Each time the studio is a new one, a few seconds old.
    """
    run = made(folder, "ready", LONG)
    for _ in run.train():
        pass
    shutil.copytree(run.path, folder / "other")
    rows = []
    for view, (query, most) in VIEWS.items():
        seconds = [once_ready(browser, folder, view, query) for _ in range(ROUNDS)]
        told = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} … {max(seconds):.2f})"
        rows.append(row(f"{view} ready, {LONG:,} steps", f"s, at most {most}", told))
    return rows


def once_ready(browser: Browser, folder: Path, view: str, query: str) -> float:
    fresh = Served(folder)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(f"{fresh.address()}#/runs")
        page.wait_for_selector("[data-view=runs][data-ready]")
        time.sleep(4)  # a person reads the list meanwhile
        start = time.perf_counter()
        page.evaluate(SEEN, [f"#/{view}?{query}", f"[data-view={view}][data-ready]"])
        return time.perf_counter() - start
    finally:
        context.close()
        fresh.close()


def receipt(browser: Browser, served: Served, folder: Path) -> list[dict]:
    """An open receipt of one weight of a run with a million parameters: asked for, and answered."""
    if "receipt" not in ANSWERS:
        return []
    run = made(folder, "million", 4, GPTConfig(n_layers=4, n_heads=4, d_model=144))
    for _ in run.train():
        pass
    n = sum(p.numel() for p in run.model().parameters())
    client, seconds = served.client(), []
    params = {"run": "million", "step": 3}
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        reply = client.post("/ask/receipt", json=params)
        reply.raise_for_status()
        seconds.append(time.perf_counter() - start)
    first, rest = seconds[0], statistics.median(seconds[1:])
    return [
        row(f"receipt, {n:,} parameters", "traced now / open, s", f"{first:.2f} / {rest:.3f}"),
    ]


def watching(browser: Browser, served: Served, folder: Path) -> list[dict]:
    """How much slower a training is with watchers, between two stretches of it alone.

    Steps of a few milliseconds are the worst case: its threads wait for one another hundreds of
    times a second, so whatever takes one of two cores for a moment stops both.
    """
    rows = []
    for kind, model in (("small steps", SMALL), ("default model", GPTConfig())):
        name = kind.split()[0]
        run = made(folder, name, 1_000_000, model)
        client = served.client()
        client.post("/do/play", json={"run": name}).raise_for_status()
        try:
            rows += watched(browser, served, run.path / "steps.jsonl", kind)
        finally:
            client.post("/do/stop", json={"run": name}).raise_for_status()
            time.sleep(2)
    return rows


def watched(browser: Browser, served: Served, path: Path, kind: str) -> list[dict]:
    while not path.exists() or path.read_bytes().count(b"\n") < 20:
        time.sleep(0.2)
    rows = []
    for name, watcher, n in (
        ("20 streams", streams, 20),
        ("1 page", pages, 1),
        ("20 pages", pages, 20),
    ):
        slower, alone = [], [pace(path)]
        for _ in range(ROUNDS):
            with watcher(browser, served, path.parent.name, n):
                during = pace(path)
            alone.append(pace(path))
            slower.append(during / statistics.mean(alone[-2:]) - 1)
        told = f"{100 * statistics.median(slower):+.1f} % ({min(slower):+.1%} … {max(slower):+.1%})"
        step = f"{1000 * statistics.median(alone):.0f} ms a step"
        rows.append(row(f"{name}, {kind}", f"slower than {step}", told))
    return rows


def pace(path: Path) -> float:
    """Seconds a step, of those that are recorded from now on."""
    before = path.read_bytes().count(b"\n")
    time.sleep(WATCHED)
    lines = path.read_bytes().splitlines()[before:-1]
    return statistics.mean(json.loads(line)["seconds"] for line in lines)


class streams:  # noqa: N801  # used as a function
    """Connections that read events and do nothing with them, in another process."""

    def __init__(self, browser: Browser, served: Served, run: str, n: int):
        given = json.dumps([served.base, served.secret, run, n])
        words = [sys.executable, "-m", "benchmarks.studio", given]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)

    def __enter__(self):
        assert self.process.stdout
        self.process.stdout.readline()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class pages:  # noqa: N801
    """Pages of one browser, each of them as if in a window of its own that is seen."""

    def __init__(self, browser: Browser, served: Served, run: str, n: int):
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        for _ in range(n):
            page = self.context.new_page()
            page.goto(f"{served.address()}#/live?run={run}")
            page.wait_for_selector("[data-view=live][data-ready]")
        time.sleep(1)

    def __enter__(self):
        pass

    def __exit__(self, *_):
        self.context.close()


async def read_streams(base: str, secret: str, run: str, n: int) -> None:
    limits = httpx.Limits(max_connections=40)
    headers = {"x-whence-secret": secret}
    async with httpx.AsyncClient(
        base_url=base, headers=headers, timeout=None, limits=limits
    ) as client:

        async def one() -> None:
            start = 0
            while True:  # as a browser does: some streams are ended, and asked for again
                async with client.stream("GET", f"/events?run={run}&from={start}") as reply:
                    async for line in reply.aiter_lines():
                        start = int(line[3:]) if line.startswith("id:") else start
                await asyncio.sleep(2)

        tasks = [asyncio.create_task(one()) for _ in range(n)]
        await asyncio.sleep(1)
        print("reading", flush=True)
        await asyncio.gather(*tasks)


def row(what: str, unit: str, value: str) -> dict:
    return {"what": what, "measured": unit, "here": value}


if __name__ == "__main__":
    asyncio.run(read_streams(*json.loads(sys.argv[1])))
