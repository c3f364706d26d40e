"""The list of runs: sorted, found, tagged, grouped by what differs; a text dropped on the page."""

import shutil
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.runs.tiny import RECIPE, finish, make
from tests.studio.pages import open_view
from whence.runs.run import Run
from whence.runs.summary import summary_of
from whence.runs.upkeep.tags import tags_of
from whence.studio.answers import answer


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Two runs that differ from bottles in their rate, and in how far they have come."""
    folder = tmp_path_factory.mktemp("others")
    fast = replace(RECIPE.optimizer, learning_rate=0.02)
    finish(make(folder / "fast", replace(RECIPE, optimizer=fast), steps=10))
    finish(make(folder / "short", steps=5))
    return folder


@pytest.fixture
def three(studio, others):
    for name in ("fast", "short"):
        shutil.copytree(others / name, studio.folder / name)
    return studio


def names(page) -> list[str]:
    rows = page.locator("tr[data-run]")  # read at once: the list is refreshed meanwhile
    return rows.evaluate_all("rows => rows.map(row => row.dataset.run)")


def validation_of(path) -> float:
    """The lowest loss on validation, by the record itself."""
    return min(e["loss"] for e in Run.open(path).evals if not e["whole"])


def test_runs_are_sorted_found_and_grouped(three, page):
    open_view(page, three, "runs", "")
    losses = {name: validation_of(three.folder / name) for name in ("bottles", "fast", "short")}
    page.get_by_role("button", name="validation").click()
    head = page.get_by_role("columnheader", name="validation")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names(page) == sorted(losses, key=lambda name: losses[name])
    shown = page.locator("[data-run=fast] td").nth(5).locator(".number").get_attribute("title")
    assert float(shown) == losses["fast"]
    page.get_by_role("button", name="validation").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names(page) == sorted(losses, key=lambda name: -losses[name])
    page.get_by_label("Group by").select_option("optimizer.learning_rate")
    expect(page.locator(".group-row")).to_have_count(2)
    assert page.locator(".group-row").all_inner_texts().count("learning rate = 0.02") == 1
    page.get_by_label("Find runs").fill("learning_rate=0.02")
    expect(page.locator("tr[data-run]")).to_have_count(1)
    assert names(page) == ["fast"]
    page.reload()  # the address holds what is shown
    expect(page.locator("tr[data-run]")).to_have_count(1)
    expect(page.get_by_label("Group by")).to_have_value("optimizer.learning_rate")


def test_a_run_is_tagged_and_found_by_it(three, page):
    open_view(page, three, "runs", "")
    page.get_by_role("button", name="Tag fast").click()
    box = page.get_by_label("New tag for fast")
    expect(box).to_be_focused()
    box.fill("for the talk, <b>bold</b>")
    box.press("Enter")
    expect(page.locator("[data-run=fast] .tag")).to_have_count(2)
    assert tags_of(three.folder / "fast") == ["for the talk", "<b>bold</b>"]
    page.get_by_role("button", name="for the talk", exact=True).click()
    expect(page.locator("tr[data-run]")).to_have_count(1)
    page.get_by_role("button", name="Remove the tag <b>bold</b> from fast").click()
    expect(page.locator("[data-run=fast] .tag")).to_have_count(1)
    # The run is whole as before, and a tag goes with it when it is deleted.
    assert summary_of(three.folder / "fast").trouble is None
    assert Run.open(three.folder / "fast").remove() == []


def test_three_runs_are_compared(three, page):
    open_view(page, three, "runs", "")
    for name in ("bottles", "fast", "short"):
        page.get_by_label(f"select {name} to compare").check()
    page.get_by_role("button", name="Compare 3 runs").click()
    expect(page.locator("[data-view=compare][data-ready]")).to_be_visible()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("bottles, fast and short")


DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name, {type: 'text/plain'}));
    for (const kind of ['dragover', 'drop'])
        document.body.dispatchEvent(
            new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_a_text_that_is_dropped_can_be_trained_on(studio, page):
    open_view(page, studio, "runs", "")
    page.evaluate(DROP, ["My tales.txt", "Once upon a time. " * 50])
    form = page.locator(".start")
    expect(form).to_contain_text("My tales.txt: 900 characters")
    expect(form.locator("select[name=source]")).to_have_value("file")
    expect(form.locator(".copies")).to_contain_text("texts/my-tales.txt")


def test_settings_that_differ_are_those_of_the_recipes(three):
    shown = answer("runs", {}, three.folder)
    assert {"optimizer.learning_rate", "steps"} <= set(shown["differs"])
    assert not {"batch_size", "seed", "model.d_model"} & set(shown["differs"])
    rates = {row["name"]: row["settings"]["optimizer.learning_rate"] for row in shown["runs"]}
    assert rates["fast"] == 0.02
    assert rates["bottles"] == Run.open(three.folder / "bottles").recipe.optimizer.learning_rate
