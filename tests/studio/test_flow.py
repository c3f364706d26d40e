"""What the flow shows is what the model reads and predicts: of a text, and of a pair."""

import re
import shutil
from itertools import pairwise

import pytest
import torch
from playwright.sync_api import expect

from tests.runs.tiny import RUNGS, finish, make
from tests.studio.pages import open_view
from whence.runs.run import Run
from whence.studio.answers import answer


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Run:
    run = make(tmp_path_factory.mktemp("pairs") / "pairs", RUNGS["seq2seq"], steps=6)
    finish(run)
    return run


def test_every_typed_token_is_read(studio, page):
    text = "99 bottles"
    open_view(page, studio, "flow", f'run=bottles&step=20&text="{text}"')
    expect(page.locator(".flow-token")).to_have_count(len(text))
    expect(page.locator(".flow-next")).to_have_count(len(text))
    shown = answer("flow", {"run": "bottles", "step": 20, "text": text}, studio.folder)
    run = Run.open(studio.folder / "bottles")
    ids = torch.tensor([run.tokenizer.encode(text).tolist()])
    with torch.no_grad():
        p = run.model(20)(ids)[0].softmax(-1)
    for row, want in zip(shown["predictions"], p, strict=True):
        assert row["p"] == pytest.approx(want.topk(3).values.tolist(), rel=1e-5)
    assert shown["predictions"][-1]["target"] is None  # nothing stands there
    # The loss is that of the tokens that have one after them.
    want = torch.nn.functional.nll_loss(p[:-1].log(), ids[0, 1:])
    assert shown["loss"] == pytest.approx(want.item(), rel=1e-5)


def test_a_text_as_long_as_the_window_and_one(studio):
    run = Run.open(studio.folder / "bottles")
    window = run.recipe.model.context_length
    text = ("99 bottles of beer " * 3)[: window + 1]
    for length, read in ((window, window), (window + 1, window)):
        asked = {"run": "bottles", "step": 20, "text": text[:length]}
        shown = answer("flow", asked, studio.folder)
        assert len(shown["predictions"]) == read
        taught = [row["target"] for row in shown["predictions"]]
        assert taught[: length - 1] == list(text[1:length])


def test_an_encoder_decoder_predicts_where_it_predicts(pairs):
    """A row for each token of the target, none for the source, as the decoder says."""
    folder, source, target = pairs.path.parent, "9 bottles", "009"
    shown = answer("flow", {"run": "pairs", "step": 6, "text": f"{source}\t{target}"}, folder)
    streams = {stage["stream"] for stage in shown["stages"] if stage["tile"]}
    assert streams == {0, 1}
    model, tokenizer = pairs.model(6), pairs.tokenizer
    ids = [torch.tensor([tokenizer.encode(t).tolist()]) for t in (source, "\t" + target)]
    with torch.no_grad():
        p = model.decode(ids[1], model.encode(ids[0]))[0].softmax(-1)
    assert len(shown["predictions"]) == len(target) + 1
    for row, want in zip(shown["predictions"], p, strict=True):
        assert row["p"] == pytest.approx(want.topk(3).values.tolist(), rel=1e-5)
    assert [row["target"] for row in shown["predictions"]] == [*target, "\n"]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_layer_opens_into_its_gates(kind, tmp_path):
    """As its formula makes them of torch's own states, token by token."""
    run = make(tmp_path / kind, RUNGS[kind], steps=2)
    finish(run)
    text = "9 bottles"
    asked = {"run": kind, "step": 1, "text": text, "open": "layers.0"}
    inside = answer("flow", asked, tmp_path)["inside"]
    found = {row["words"]: row["tile"] for row in inside if "words" in row}
    trace = run.at(1).trace(text)
    weights = {n: trace[f"layers.0.{n}"].value for n in ("read.weight", "recall.weight")}
    bias = {n: trace[f"layers.0.{n}"].value for n in ("read.bias", "recall.bias")}
    h = trace["layers.0"].value[0]  # what torch.lstm and torch.gru returned
    before = torch.cat([torch.zeros(1, h.shape[1]), h[:-1]])
    x = trace["embed"].value[0] @ weights["read.weight"].T + bias["read.bias"]
    u = before @ weights["recall.weight"].T + bias["recall.bias"]
    if kind == "lstm":
        i, f, g, o = (x + u).chunk(4, -1)
        want = {"input gate i": i.sigmoid(), "forget gate f": f.sigmoid()}
        want |= {"candidate g": g.tanh(), "output gate o": o.sigmoid()}
    else:
        (r, z, n), (r_h, z_h, n_h) = x.chunk(3, -1), u.chunk(3, -1)
        reset = (r + r_h).sigmoid()
        want = {"reset gate r": reset, "update gate z": (z + z_h).sigmoid()}
        want["candidate n"] = (n + reset * n_h).tanh()
    for words, values in want.items():
        assert found[words]["row_labels"] == list(text)
        got = torch.tensor(found[words]["values"])
        torch.testing.assert_close(got, values, rtol=1e-4, atol=1e-5)


def test_no_ribbon_leads_from_the_source_to_the_target(pairs, studio, page):
    shutil.copytree(pairs.path, studio.folder / "pairs")
    open_view(page, studio, "flow", "run=pairs&step=5")
    answered = answer("flow", {"run": "pairs", "step": 5}, studio.folder)
    stages = [stage for stage in answered["stages"] if stage["tile"]]
    within = sum(a["stream"] == b["stream"] for a, b in pairwise(stages))
    expect(page.locator(".flow-between")).to_have_count(within)
    expect(page.locator(".flow-cross")).to_have_count(1)
    expect(page.locator(".flow-tokens")).to_have_count(2)


def test_it_begins_with_a_sentence_and_writes_on(studio, page):
    open_view(page, studio, "flow", "run=bottles")
    text = page.get_by_label("Text instead of the batch").input_value()
    run = Run.open(studio.folder / "bottles")
    assert text
    assert text.strip() in run.tokenizer.decode(run.dataset.validation.tolist())
    expect(page.locator(".flow-token")).to_have_count(len(text))
    # As likely as the model says at this temperature, and the one that is drawn is written.
    page.get_by_label("Text instead of the batch").fill("99 b")
    page.get_by_label("Text instead of the batch").press("Enter")
    expect(page.locator(".flow-token")).to_have_count(4)
    page.get_by_role("slider", name="Temperature").fill("0.5")
    step = int(page.get_by_label("Step", exact=True).input_value())
    ids = torch.tensor([run.tokenizer.encode("99 b").tolist()])
    with torch.no_grad():
        want = (run.at(step).model(ids)[0, -1] / 0.5).softmax(-1).max().item()
    first = page.locator(".next-list li .number").first
    expect(first).to_have_attribute("title", re.compile(rf"^{want:.5f}"))
    drawn = page.locator(".next-list .drawn .next-token").inner_text()
    page.get_by_role("button", name="Generate token").click()
    expect(page.locator(".flow-token")).to_have_count(5)
    expect(page.locator(".flow-token").last).to_have_text(drawn)
    page.get_by_role("button", name="Keep going", exact=True).click()
    expect(page.locator(".flow-token").nth(6)).to_be_attached()  # or more of them by now
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Back", exact=True).click()
    expect(page.get_by_role("button", name="Keep going", exact=True)).to_be_visible()


def test_a_cell_is_wide_enough_to_point_at(studio, page):
    open_view(page, studio, "flow", "run=bottles&step=7")
    cells = page.locator(".flow-cells").first
    box = cells.bounding_box()
    rows = page.locator(".flow-tokens .flow-token").count()
    assert box["height"] / rows >= 18
    cells.hover(position={"x": 1.5 * 18, "y": 5})
    said = page.locator(".flow-said").first
    expect(said).to_contain_text("embed[0,0,1] = ")
    value = float(said.inner_text().partition(" = ")[2].replace("\u2212", "-"))
    assert value == Run.open(studio.folder / "bottles").at(7).trace()["embed"][0, 0, 1].value


def test_a_block_opens_between_its_neighbours_and_shows_who_reads_whom(studio, page):
    open_view(page, studio, "flow", "run=bottles&step=7")
    block = page.get_by_role("button", name="blocks.0")
    block.focus()
    page.keyboard.press("Enter")
    expect(block).to_have_attribute("aria-expanded", "true")
    expect(block).to_be_focused()
    order = "all => all.map(e => e.className.split(' ').find(c => /^flow-(stage|inside)/.test(c)))"
    expect(page.locator(".flow-inside")).to_be_visible()
    found = page.locator(".flow-stage, .flow-inside").evaluate_all(order)
    assert found == ["flow-stage", "flow-stage", "flow-inside", "flow-stage", "flow-stage"]
    weights = Run.open(studio.folder / "bottles").at(7).trace()["blocks.0.attn.weights"].value[0, 6]
    if weights.ndim == 2:  # [heads, T, T] of each example
        weights = weights[0]
    words = page.locator(".arc-word[role=button]")
    words.nth(6).focus()
    said = page.locator(".arc-said")
    want = weights.max().item()
    expect(said).to_contain_text(f"{want:.4f}" if want >= 0.1 else f"{want:.3g}")
    page.keyboard.press("ArrowRight")
    expect(words.nth(7)).to_be_focused()
    expect(page.locator(".arc.on").first).to_be_attached()
    words.nth(2).hover()
    expect(page.locator(".arc-word.on")).to_have_count(1)
    page.get_by_role("button", name="head 1").click()
    expect(page.locator(".arc-word.on")).to_have_count(1)


def test_backward_the_picture_holds_the_gradients(studio, page):
    open_view(page, studio, "flow", "run=bottles&step=7")
    page.get_by_role("button", name="Gradients, backward").click()
    expect(page.locator(".flow.backward")).to_be_visible()
    shown = answer("flow", {"run": "bottles", "step": 7, "backward": True}, studio.folder)
    trace = Run.open(studio.folder / "bottles").at(7).trace()
    stages = [stage["tile"] for stage in shown["stages"] if stage["tile"]]
    assert stages
    for tile in stages:
        name = tile["name"].removesuffix(".grad")
        want = trace[name].grad.value[0].float().numpy()
        got = tile["values"]
        assert (got == want[: got.shape[0], : got.shape[1]]).all()


def test_a_number_that_is_not_finite_is_not_drawn_as_a_zero(studio, page):
    page.goto(studio.address())
    drawn = page.evaluate(
        """async () => {
            const { strips } = await import("/static/lib/strips.js");
            const frame = () => new Promise(requestAnimationFrame);
            const pictures = [];
            for (const x of [0, NaN, 0]) {
                const tile = { name: "x", first: 0, top: 0, left: 0, columns: 2,
                               values: { shape: [1, 2], data: [x, 1] } };
                const node = strips(tile, { from: 0, count: 2, wide: 18, tall: 22, pick() {} });
                document.querySelector(".whence").append(node);
                await frame();
                await frame();
                pictures.push(node.querySelector("canvas").toDataURL());
            }
            return pictures;
        }"""
    )
    assert drawn[0] == drawn[2] != drawn[1]


def test_it_begins_with_the_model_as_it_is_now(studio, page):
    """Its sentence is read by the saved weights behind the last step: nothing is redone."""
    shown = answer("flow", {"run": "bottles"}, studio.folder)
    run = Run.open(studio.folder / "bottles")
    ids = torch.tensor([run.tokenizer.encode(shown["text"]).tolist()])
    with torch.no_grad():
        p = run.model("last")(ids)[0].softmax(-1)
    assert shown["step"] == len(run.steps)
    assert shown["predictions"][-1]["p"] == pytest.approx(p[-1].topk(3).values.tolist(), rel=1e-5)
    open_view(page, studio, "flow", "run=bottles")
    page.get_by_label("Text instead of the batch").fill("")
    page.get_by_label("Text instead of the batch").press("Enter")
    expect(page.get_by_label("Step", exact=True)).to_have_value("19")  # the last that has a batch
    expect(page.get_by_label("Example")).to_be_visible()
