"""Views 1 and 2 in a real Chromium, on real runs."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from whence.runs.run import Run

# Text that would run if it were ever read as markup.
HOSTILE = "<script>window.pwned = 1</script> <img src=x onerror='window.pwned = 1'>\n"


def ready(page: Page, view: str) -> None:
    expect(page.locator(f"[data-view={view}][data-ready]")).to_be_visible()


def watch_state(page: Page, state: str) -> None:
    expect(page.locator(f"[data-view=live][data-state={state}]")).to_be_visible()


def step_of(page: Page) -> int:
    return int(page.locator("[data-view=live]").get_attribute("data-step") or -1)


def no_wider_than_the_window(page: Page) -> None:
    wide, window = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= window


def test_a_training_from_the_page(studio, context, page):
    """Paste a text, start paused, step, watch, reload, a second page, a restart, pause, finish."""
    page.goto(studio.address())
    ready(page, "runs")
    page.get_by_role("button", name="Train a model").click()
    form = page.locator(".start")
    form.locator("select[name=source]").select_option("paste")
    form.get_by_label("the text to train on").fill(HOSTILE * 40)
    form.locator("select[name=model]").select_option("bigram")
    form.get_by_label("context length", exact=True).fill("16")
    form.get_by_label("steps", exact=True).fill("none")
    expect(form.get_by_role("alert")).to_contain_text("steps")
    form.get_by_label("steps", exact=True).fill("1500")
    form.get_by_label("name of the run").fill("mine")
    expect(form.locator(".copies")).to_contain_text("whence train")
    form.get_by_label("pause before the first step").check()
    form.get_by_role("button", name="Start training").click()

    watch_state(page, "paused")
    assert step_of(page) == 0
    page.get_by_role("button", name="One step").click()
    expect(page.locator("[data-view=live][data-step='1']")).to_be_visible()
    expect(page.locator(".does")).to_contain_text("whence control")
    page.get_by_label("speed").select_option("10 steps/s")  # so that it lasts
    page.get_by_role("button", name="Play").click()
    watch_state(page, "training")
    page.reload()
    watch_state(page, "training")
    assert step_of(page) >= 1

    second = context.new_page()
    second.goto(studio.address("#/live?run=mine"))
    watch_state(second, "training")

    before = step_of(second)
    context.watch.errors.clear()
    studio.stop()
    expect(second.get_by_text("The studio isn't responding")).to_be_visible()
    studio.start()
    third = context.new_page()
    third.goto(studio.address())  # who is let in anew lets in the other pages of the browser
    ready(third, "runs")
    third.close()
    second.bring_to_front()
    expect(second.get_by_text("The studio isn't responding")).to_have_count(0)
    context.watch.errors.clear()  # the browser tells of the connection that was refused
    expect(second.locator("[data-view=live]")).not_to_have_attribute("data-step", str(before))
    assert Run.open(studio.folder / "mine").state == "training"

    page.bring_to_front()
    page.mouse.move(5, 5)  # now this page is the one last used, and the other rests
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Pause").click()
    expect(second.locator("[data-view=live][data-state=paused]")).to_be_visible()
    for each in (page, second):
        watch_state(each, "paused")
    done = len(Run.open(studio.folder / "mine").steps)
    for each in (page, second):
        expect(each.locator(f"[data-view=live][data-step='{done}']")).to_be_visible()
    page.get_by_label("speed").select_option("full speed")
    page.get_by_role("button", name="Play").click()
    for each in (page, second):
        watch_state(each, "finished")
    run = Run.open(studio.folder / "mine")
    assert len(run.steps) == 1500
    assert (studio.folder / "texts" / "text.txt").read_text(encoding="utf-8") == HOSTILE * 40
    expect(page.locator(".samples li").first).to_be_visible()
    assert page.evaluate("window.pwned") is None


def test_what_a_run_shows(studio, page):
    page.goto(studio.address())
    ready(page, "runs")
    expect(page).not_to_have_url(re.compile("code"))
    row = page.locator("[data-run=bottles]")
    expect(row).to_contain_text("finished")
    expect(row).to_contain_text("20 of 20")
    best = min(e["bits_per_byte"] for e in Run.open(studio.folder / "bottles").evals)
    expect(row.get_by_title(re.compile(f"^{best}"))).to_be_visible()
    page.get_by_role("link", name="bottles").click()
    ready(page, "live")
    record = Run.open(studio.folder / "bottles").steps
    expect(page.locator(".facts")).to_contain_text(f"{record[-1]['loss']:.4g}")
    expect(page.locator(".strip td.p")).not_to_have_count(0)

    # A click on the curve goes there.
    box = page.get_by_role("slider", name="Loss", exact=True).bounding_box()
    page.mouse.click(box["x"] + 63, box["y"] + 40)
    there = page.locator(".there[data-step='0']")
    expect(there).to_contain_text(f"{record[0]['loss']:.4g}")
    expect(there).to_contain_text("whence rewind")
    expect(page).to_have_url(re.compile(r"#/live\?run=bottles&step=0$"))


def test_at_the_end_there_is_no_step_to_open(studio, page):
    page.goto(studio.address("#/live?run=bottles&step=20"))
    there = page.locator(".there[data-step='20']")
    expect(there).to_contain_text("The final state")
    expect(there.get_by_role("button", name="Predict from here")).to_be_visible()
    expect(there.get_by_role("button", name="See inside the model")).to_have_count(0)


def test_strip_holds_the_models_probabilities(studio, page):
    page.goto(studio.address("#/live?run=bottles"))
    page.get_by_label("the sentence to follow").fill("of beer")
    page.get_by_role("button", name="Follow").click()
    expect(page.locator(".strip tbody tr")).to_have_count(7)
    run = Run.open(studio.folder / "bottles")
    shown = page.locator(".strip tbody tr:nth-child(2) td.p:nth-last-child(2)").get_attribute(
        "title"
    )
    import torch

    ids = [int(i) for i in run.tokenizer.encode("of")]
    logits = run.model(20)(torch.tensor([ids]))[0, 0].double()
    want = torch.nn.functional.softmax(logits, -1)[ids[1]].item()
    assert float(shown.rpartition("= ")[2].replace("−", "-")) == pytest.approx(want, rel=1e-6)


def test_of_two_questions_the_later_ones_answer_stays(studio, page):
    """The page's own first question, answered last, doesn't draw over what was asked since."""
    held = []

    def hold_the_first(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/ask/strip", hold_the_first)
    page.goto(studio.address("#/live?run=bottles"))
    page.get_by_label("the sentence to follow").fill("of beer")
    while not held:
        page.wait_for_timeout(10)
    page.get_by_role("button", name="Follow").click()
    expect(page.locator(".strip tbody tr")).to_have_count(7)
    with page.expect_response("**/ask/strip"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator(".strip tbody tr")).to_have_count(7)


def test_keyboard_only(studio, page):
    page.goto(studio.address())
    ready(page, "runs")

    def tab_to(what: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches(" + json.dumps(what) + ")"):
                return
        raise AssertionError(f"the keyboard doesn't reach {what}")

    tab_to("[data-run=bottles] a")
    page.keyboard.press("Enter")
    ready(page, "live")
    tab_to(".chart-area")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".legend").first).to_contain_text("step 1")
    page.keyboard.press("Enter")
    expect(page.locator(".there[data-step='1']")).to_be_visible()
    expect(page.locator("td.p").first).to_be_attached()  # it is measured meanwhile
    tab_to("td.p")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator(".there[data-step='15']")).to_be_visible()
    tab_to("[data-view=live] > div > .row button")  # round to the controls


def test_fork_compare_delete(studio, page):
    page.goto(studio.address())
    ready(page, "runs")
    page.locator("[data-run=bottles]").get_by_role("button", name="Fork").click()
    box = page.get_by_role("dialog")
    box.get_by_label("at step").fill("10")
    box.get_by_label("changed settings").fill("optimizer.learning_rat = 0.5")
    box.get_by_role("button", name="Fork and train").click()
    expect(box.get_by_role("alert")).to_contain_text("did you mean learning_rate?")
    page.context.watch.errors.clear()  # the browser tells of the refusal
    box.get_by_label("changed settings").fill("optimizer.learning_rate = 0.5")
    box.get_by_role("button", name="Fork and train").click()
    watch_state(page, "finished")
    page.goto(studio.address())
    page.get_by_label("select bottles to compare").check()
    page.get_by_label("select bottles-fork-1 to compare").check()
    page.get_by_role("button", name="Compare").click()
    ready(page, "compare")
    expect(page.locator("[data-first='11']")).to_be_visible()
    expect(page.locator("[data-view=compare]")).to_contain_text("optimizer.learning_rate")
    page.goto(studio.address())
    page.get_by_role("button", name="Delete bottles-fork-1").click()
    page.get_by_role("button", name="Cancel").click()
    assert (studio.folder / "bottles-fork-1").is_dir()
    page.get_by_role("button", name="Delete bottles-fork-1").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("[data-run=bottles-fork-1]")).to_have_count(0)
    assert not (studio.folder / "bottles-fork-1").exists()


def test_damaged_runs(studio, page):
    (studio.folder / "broken").mkdir()
    (studio.folder / "broken" / "run.toml").write_text('checksum = "0"\n<script>alert(1)</script>')
    steps = studio.folder / "bottles" / "steps.jsonl"
    lines = steps.read_bytes().splitlines(keepends=True)
    lines[8] = lines[8].replace(b"loss", b"lost")
    steps.write_bytes(b"".join(lines))
    page.goto(studio.address())
    ready(page, "runs")
    for name in ("broken", "bottles"):
        expect(page.locator(f"[data-run={name}][data-state=damaged]")).to_be_visible()
        expect(page.locator(f"[data-why={name}]")).to_contain_text("is damaged")
    page.goto(studio.address("#/live?run=bottles"))
    watch_state(page, "damaged")
    expect(page.get_by_role("alert").first).to_contain_text("line 9")
    page.goto(studio.address("#/live?run=broken"))
    expect(page.get_by_role("alert")).to_contain_text("run.toml is damaged")
    page.goto(studio.address("#/live?run=nothing"))
    expect(page.get_by_role("alert")).to_contain_text("there is no run")
    page.goto(studio.address("#/nonsense"))
    expect(page.get_by_role("alert")).to_contain_text("no view called nonsense")
    page.goto(studio.address())
    page.get_by_role("button", name="Delete broken").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("[data-run=broken]")).to_have_count(0)
    page.context.watch.errors.clear()  # the browser tells of each refusal


def test_files(studio, page, tmp_path):
    page.goto(studio.address())
    ready(page, "runs")
    page.get_by_role("button", name="Train a model").click()
    page.locator(".start").locator("select[name=source]").select_option("file")
    chosen = page.locator("input[type=file]")
    chosen.set_input_files({"name": "latin.txt", "mimeType": "text/plain", "buffer": b"caf\xe9"})
    expect(page.locator(".start").get_by_role("alert")).to_contain_text("isn't UTF-8")
    big = tmp_path / "big.txt"
    big.write_bytes(b"a" * 20_000_001)
    chosen.set_input_files(big)
    expect(page.locator(".start").get_by_role("alert")).to_contain_text("20,000,001 bytes")
    text = {"name": "A b.txt", "mimeType": "text/plain", "buffer": "caf\u00e9 ".encode() * 9}
    chosen.set_input_files(text)
    expect(page.locator(".start")).to_contain_text("45 characters")
    expect(page.locator(".start .copies")).to_contain_text("texts/a-b.txt")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator(".start").get_by_role("alert")).to_contain_text("too short")
    page.context.watch.errors.clear()  # the browser tells of the refusal
    assert not list(studio.folder.glob("a-b-*"))


@pytest.mark.parametrize(
    "view", ["#/runs", "#/live?run=bottles&step=3", "#/compare?a=bottles&b=bottles"]
)
def test_phone(studio, browser, context, page, view):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(studio.address(view))
    expect(page.locator("[data-ready]").first).to_be_visible()
    if "live" in view:
        expect(page.locator(".strip td.p").first).to_be_visible()
    no_wider_than_the_window(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(studio, page, scheme):
    """Text has a contrast of 4.5 and more on what it stands on, by the formula of WCAG 2."""
    page.emulate_media(color_scheme=scheme)
    page.goto(studio.address())
    ready(page, "runs")
    names = [
        "bg",
        "panel",
        "soft",
        "ink",
        "quiet",
        "accent",
        "second",
        "pos",
        "neg",
        "good",
        "warn",
        "bad",
        "q",
        "k",
        "v",
    ]
    read = """names => { const style = getComputedStyle(document.querySelector('.whence'));
        return names.map(name => style.getPropertyValue('--' + name).trim().slice(1)) }"""
    colours = dict(zip(names, page.evaluate(read, names), strict=True))

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (light(colours["bg"]) < 0.1) == (scheme == "dark")
    for name in set(colours) - {"bg", "panel", "soft"}:
        for ground in ("bg", "panel"):
            high, low = sorted((light(colours[name]), light(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_more_pages_than_a_browser_has_connections(studio, context):
    """Twelve pages watch a run, and each is still answered."""
    for _ in range(12):
        one = context.new_page()
        one.goto(studio.address("#/live?run=bottles"))
        ready(one, "live")
        expect(one.locator(".strip td.p").first).to_be_visible()


def test_the_skip_link_leads_to_the_view_and_leaves_it(studio, page):
    page.goto(studio.address())
    ready(page, "runs")
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(page.locator("[data-view=runs]")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert page.evaluate("location.hash") in ("", "#/runs")


def test_a_positive_number_is_not_coloured_like_an_error(studio, page):
    page.goto(studio.address())
    ready(page, "runs")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            "['--pos', '--neg', '--bad'].map(n => getComputedStyle(document.querySelector('main'))"
            ".getPropertyValue(n).trim())"
        )
        assert len(set(colours)) == 3
