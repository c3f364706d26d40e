"""Flow, cell and receipt in a real Chromium: the numbers on the page are those of the trace."""

import re
import shlex
from dataclasses import replace
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from tests.runs.tiny import RECIPE, finish, make
from tests.studio.pages import number, open_view
from whence import Run
from whence.cli import main

VIEWS = {
    "flow": "step=7&open=blocks.0",
    "cell": "step=7&address=blocks.0.mlp.up[0,3,5]",
    "receipt": "step=7&address=head.weight[3,7]",
}


@pytest.fixture(scope="module")
def trace(tiny_run):
    """The step that the views show."""
    return Run.open(tiny_run).at(7).trace()


def test_a_block_and_a_head_open_in_place(studio, page):
    open_view(page, studio, "flow", "run=bottles&step=7")
    expect(page.locator(".flow-stage")).to_have_count(4)
    page.get_by_role("button", name="blocks.0").click()
    expect(page.locator(".att-stage")).to_have_count(4)
    page.get_by_role("button", name="head 1").click()
    expect(page.get_by_role("button", name="head 1")).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile("head=1"))
    for role in "qkv":
        expect(page.locator(f".attention .matrix.{role}")).to_have_count(1)


def test_a_cell_of_the_flow_leads_to_its_arithmetic(studio, page, trace):
    open_view(page, studio, "flow", "run=bottles&step=7")
    cells = page.locator(".flow-cells").first
    cells.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    said = page.locator(".flow-said").first
    expect(said).to_contain_text("embed[0,1,1] = ")
    assert number(said.inner_text().partition(" = ")[2]) == trace["embed"][0, 1, 1].value
    page.keyboard.press("Enter")
    expect(page.locator("[data-view=cell][data-ready]")).to_be_visible()
    expect(page.locator(".equation .address").first).to_have_text("embed[0,1,1]")


def test_a_cell_shows_its_operands_and_leads_to_them_and_back(studio, page, trace):
    open_view(page, studio, "cell", "run=bottles&step=7&address=blocks.0.mlp.up[0,3,5]")
    shown = page.locator(".equation strong").get_attribute("title")
    assert number(shown) == trace["blocks.0.mlp.up"][0, 3, 5].value
    expect(page.locator(".equation .badge")).to_have_text("rounded")
    expect(page.locator(".equation math").first).to_be_visible()
    lit = page.get_by_text("16 cells read")
    expect(lit).to_have_count(2)
    source = page.locator(".bars .factor .link").first
    address = source.inner_text()
    value = page.locator(".bars .factor .number").first.get_attribute("title")
    assert number(value) == trace.number(address).value
    source.click()
    expect(page.locator(".crumbs strong")).to_have_text(address)
    page.locator(".crumbs .link").first.click()
    expect(page.locator(".crumbs strong")).to_have_text("blocks.0.mlp.up[0,3,5]")
    gradient = page.locator(".panel", has_text="Uses and gradient").locator(".big .number")
    expected = trace["blocks.0.mlp.up"].grad.value[0, 3, 5].item()
    assert number(gradient.get_attribute("title")) == expected


def test_a_wrong_address_names_the_near_ones(studio, page, context):
    open_view(page, studio, "cell", "run=bottles&step=7&address=blocks.0.mpl.up")
    expect(page.get_by_role("alert")).to_contain_text("did you mean blocks.0.mlp.up")
    context.watch.errors.clear()
    box = page.get_by_label("Address of a number")
    box.fill("blocks.0.mlp.do")
    expect(page.locator("datalist option").first).to_have_attribute(
        "value", "blocks.0.mlp.down[0,0,0]"
    )
    box.fill("loss")
    box.press("Enter")
    expect(page.locator(".crumbs strong")).to_have_text("loss")
    expect(page.get_by_role("alert")).to_have_count(0)


def digits(text: str) -> str:
    """The number in a text that may have a glyph and a typographic minus."""
    return re.sub(r"[^\d.e-]", "", text.replace("\u2212", "-"))


def test_a_weights_receipt_leads_to_the_text(studio, page, trace):
    open_view(page, studio, "receipt", "run=bottles&step=7&address=head.weight[3,7]")
    titles = [n.get_attribute("title") for n in page.locator(".sum-number").all()]
    old, change, new = (number(title) for title in titles)
    weight = trace.number("head.weight[3,7]")
    assert (old, change, new) == (weight.value, weight.update.value, weight.after.value)
    # The digits that are shown add up, and tell the old weight from the new one.
    shown = [Decimal(digits(n.inner_text())) for n in page.locator(".sum-number").all()]
    assert shown[0] != shown[2]
    last = Decimal(1).scaleb(shown[0].as_tuple().exponent)
    assert abs(shown[0] + shown[1] - shown[2]) <= last
    assert page.locator(".sum-number .changed").inner_text() != ""
    token = page.locator(".bars button[type=button].link", has_text="'").first
    token.click()
    place = page.locator(".places li").first
    expect(place.locator("mark")).to_be_visible()
    assert token.inner_text().strip("'") in (place.locator("mark").inner_text(), "\\n", " ")
    place.get_by_role("button", name="paths").click()
    expect(place.locator(".bars tr").first).to_be_visible()


@pytest.mark.parametrize(("view", "query"), VIEWS.items())
def test_a_phone_in_the_dark(studio, page, view, query):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    open_view(page, studio, view, f"run=bottles&{query}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("view", "query"), VIEWS.items())
def test_the_command_and_the_line_work_as_given(studio, page, capsys, view, query):
    open_view(page, studio, view, f"run=bottles&{query}")
    command = shlex.split(page.locator(".copies code").nth(1).inner_text())
    assert command[0] == "whence"
    assert main(command[1:]) in (0, None)
    assert capsys.readouterr().out
    before, _, line = page.locator(".copies code").first.inner_text().rpartition("; ")
    names = {}
    exec(before, names)
    assert eval(line, names) is not None


def test_a_script_in_the_text_is_text(scripted, page):
    page.on("dialog", lambda dialog: dialog.dismiss())
    open_view(page, scripted, "flow", 'run=scripted&step=2&text="<script>alert(1)</script>"')
    expect(page.locator(".flow-token")).to_have_count(len("<script>alert(1)</script>"))
    assert page.locator("main script").count() == 0


def test_a_receipt_has_a_title_in_words_and_its_momentum_opens(studio, page, trace):
    open_view(page, studio, "receipt", "run=bottles&step=7&address=head.weight[3,7]")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Change of weight head[3,7], step 7, bottles")
    expect(heading).to_have_attribute("title", "head.weight[3,7].update")
    said = page.locator(".said")
    expect(said).to_contain_text("moved ")
    expect(said).to_contain_text("% momentum")
    row = page.get_by_role("button", name="momentum (before this step)")
    raw = row.locator("span").get_attribute("title")
    name = raw.removesuffix(" (before this step)")
    row.click()
    expect(page.locator("[data-view=cell][data-ready]")).to_be_visible()
    expect(page.locator(".equation .address").first).to_have_text(f"{name}[3,7].after")
    shown = page.locator(".equation strong").get_attribute("title")
    assert number(shown) == trace.number(f"{name}[3,7]").value  # as step 6 left it


def test_a_cell_is_called_as_people_call_it(studio, page, trace):
    """The title in words, raw names of operations only on hover, the rule in three lines."""
    open_view(page, studio, "cell", "run=bottles&step=7&address=blocks.0.norm1.pow[0,3,5]")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Intermediate blocks.0.norm1[0,3,5], power, step 7, bottles")
    expect(heading).to_have_attribute("title", "blocks.0.norm1.pow[0,3,5]")
    lines = page.locator(".rule-line .label")
    expect(lines).to_have_text(["in symbols", "in numbers", "result"])
    open_view(page, studio, "cell", "run=bottles&step=7&address=loss")
    numbers = page.locator(".rule-line", has_text="in numbers").locator("math")
    expect(numbers).to_have_text(re.compile(r"^=[\d.]+·1$"))  # its part's share of the batch: all
    cast = replace(RECIPE, hardware=replace(RECIPE.hardware, precision="bf16"))
    finish(make(studio.folder / "narrow", cast, steps=3))
    open_view(page, studio, "cell", "run=narrow&step=1&address=logits[0,5,3]")
    meant = page.locator(".meant")
    rounded = [f"{each}, rounded to bfloat16" for each in ("a is norm", "b is head.weight")]
    expect(meant).to_have_text(", ".join(rounded))
    raw = meant.locator("span").evaluate_all("all => all.map(each => each.title)")
    assert all("to_copy" in name for name in raw)
    open_view(page, studio, "cell", "run=bottles&step=7&address=head.weight[3,7].grad")
    read_by = page.get_by_text("Used by").inner_text()
    assert not re.search(r"foreach|_to_copy|\.optimizer\.|fused_", read_by)
    raw = {name for _, name in trace.number("head.weight[3,7].grad").used_by}
    links = page.get_by_text("Used by").get_by_role("button").all()
    assert {link.get_attribute("title") for link in links} == raw
