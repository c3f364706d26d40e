"""Stills and reports from a file, with every request blocked but that for the file."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.cli.test_hostile_text import CODES
from tests.runs.tiny import RECIPE, finish
from whence.cli import main
from whence.data import text_source
from whence.play import at
from whence.runs.run import Run
from whence.studio.bundle import module
from whence.studio.still import Shown, Still


@pytest.fixture
def opened(browser, tmp_path):
    """Open a file in a browser that may load nothing else; errors fail the test."""
    contexts, wrong = [], []

    def open_(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.route(lambda url: url != path.as_uri(), lambda route: route.abort())
        context.on(
            "request",
            lambda r: r.url.startswith(("data:", "blob:", path.as_uri())) or wrong.append(r.url),
        )
        context.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        context.on("weberror", lambda e: wrong.append(str(e.error)))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong


def test_a_still_of_play(opened, tmp_path):
    path = tmp_path / "a file.html"
    params = {"data": "three", "step": 3, "open": "w1"}
    Still(tmp_path, [Shown("play", params)]).save(path)
    page = opened(path, viewport={"width": 1000, "height": 800})
    view = page.locator("[data-view=play][data-ready]")
    expect(view).to_have_attribute("data-step", "3")
    shown = view.locator(".whence-of strong .number").first.get_attribute("title")
    assert float(shown or 0) == at(3, "three").named["w1"].data
    nothing_asks(page)


def nothing_asks(page):
    """No control is there that would need an answer; what is left works by itself."""
    for control in page.locator("button:visible, input:visible, select:visible").all():
        assert control.evaluate("node => node.closest('[data-local]') !== null"), control.evaluate(
            "node => node.outerHTML"
        )


def test_names_stay_text(opened, tmp_path):
    text = "</script><script>document.title = 'broken'</script><!--"
    path = tmp_path / "x.html"
    folder = tmp_path / text.replace("/", "∕")
    still = Still(folder, [Shown("runs", {}), Shown("play", {"data": "one"})], text)
    assert still.html.count("<script>") == 1
    still.save(path)
    page = opened(path)
    expect(page.locator("[data-view=play][data-ready]")).to_be_visible()
    assert page.title() == text


def test_a_report_and_its_page_hold_no_codes(opened, tmp_path):
    """What a terminal or a reader acts on is written out, in the file and where it is drawn."""
    text = text_source("\x1b]0;t\x07", lambda: ["\x1b[2J <b>\x9b31m \u202etac\u202c cats.\n" * 60])
    recipe = replace(RECIPE, steps=4, record=replace(RECIPE.record, sample_every=1))
    finish(Run.create(recipe, tmp_path / "run", text))
    assert main(["report", str(tmp_path / "run"), "--html", str(tmp_path / "out.html")]) == 0
    assert not CODES.search((tmp_path / "out.html").read_text(encoding="utf-8"))
    page = opened(tmp_path / "out.html")
    expect(page.locator("[data-view=live][data-ready]")).to_be_visible()
    drawn = page.locator("body").evaluate("node => node.textContent + node.innerHTML")
    assert "\\u001b[2J" in drawn
    assert not CODES.search(re.sub("<script.*", "", drawn, flags=re.DOTALL))


def test_report_of_a_run(opened, tmp_path, tiny_run, capsys):
    path = tmp_path / "out.html"
    assert main(["report", str(tiny_run), "--html", str(path)]) == 0
    said = capsys.readouterr().out.strip()
    size = path.stat().st_size
    assert f"{size / 1000:,.0f} kB" in said
    assert size < 500_000
    page = opened(path)
    live = page.locator("[data-view=live][data-ready]")
    expect(live).to_be_visible()
    expect(live.locator(".chart path.line").first).to_be_visible()
    for view in re.findall(r": ([a-z, ]+)$", said)[-1].split(", "):
        expect(page.locator(f"[data-view={view}][data-ready]").first).to_be_attached()
    nothing_asks(page)
    head = page.locator(".report-head")
    expect(head).to_contain_text("gpt on bottles")
    head.locator("summary").click()
    expect(head.get_by_role("row", name="steps 20", exact=True)).to_be_visible()
    expect(head.get_by_role("row", name="model.d_model 16")).to_be_visible()
    for each in page.locator(".cells, .chart-area, .flow-cells").all()[:6]:
        each.click()
    expect(page.get_by_role("alert")).to_have_count(0)
    plain = opened(path, java_script_enabled=False)
    expect(plain.get_by_role("heading", name="Training loss")).to_be_visible()


def test_report_says_where_it_cannot_be_written(tmp_path, tiny_run, capsys):
    assert main(["report", str(tiny_run), "--html", str(tmp_path / "none" / "x.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_every_view_can_be_put_together():
    from whence.studio.bundle import STATIC

    for path in (STATIC / "views").glob("*.js"):
        text = module("notebook.js", [path.stem])
        assert not re.search(r"^import\b", text, re.MULTILINE)
