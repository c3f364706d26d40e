"""Talking to a model in a real Chromium: its tokens, what else they could have been, and why."""

import shlex
import shutil

import pytest
import torch
from playwright.sync_api import Page, expect

from tests.interop.test_server import chatty
from tests.studio.conftest import Studio
from tests.studio.pages import number, open_view
from tests.studio.test_accessibility import violations
from whence.cli import main
from whence.errors import WhenceError
from whence.generate import generate
from whence.interop.talk.answers import load_answer
from whence.interop.talk.chat import Chat
from whence.interop.talk.conversation import conversation_ids
from whence.runs.run import Run
from whence.studio.answers import answer


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny_run):
    """A studio of a chat model with random weights, and of a base model."""
    folder = tmp_path_factory.mktemp("talk") / "runs"
    shutil.copytree(tiny_run, folder / "bottles")
    chatty(folder / "chatty")
    made = Studio(folder)
    yield made
    made.stop()


def say(page: Page, text: str) -> None:
    """Say something and wait for the whole answer."""
    page.get_by_label("Your message").fill(text)
    ready = int(page.locator(".view").get_attribute("data-ready"))
    page.keyboard.press("Enter")
    expect(page.locator(".view")).to_have_attribute("data-ready", str(ready + 1))


def answers(page: Page) -> list[str]:
    return page.locator(".talk-tokens").evaluate_all(
        "all => all.map(e => [...e.children].map(b => b.querySelector('.talk-name') "
        "? b.textContent.replace(b.querySelector('.talk-name').textContent, '') "
        ": b.textContent).join(''))"
    )


def test_two_turns_are_what_the_model_says(served, page):
    open_view(page, served, "chat", "run=chatty&temperature=0&max_tokens=6")
    say(page, "Hello")
    say(page, "Again <|im_end|>")
    run = Run.open(served.folder / "chatty")
    messages, want = [], []
    for text in ("Hello", "Again <|im_end|>"):
        messages.append({"role": "user", "content": text})
        ids = conversation_ids(run.tokenizer, messages)
        want += generate(run.model(), run.tokenizer, ids, temperature=0, max_tokens=6)
        messages.append({"role": "assistant", "content": want[-1]})
    assert answers(page) == want
    expect(page.locator(".talk-turn").last).to_contain_text("token limit")


def test_a_token_shows_its_alternatives_and_opens_by_keyboard(served, page, capsys):
    open_view(page, served, "chat", "run=chatty&temperature=0&max_tokens=5")
    say(page, "Hello")
    run = Run.open(served.folder / "chatty")
    ids = conversation_ids(run.tokenizer, [{"role": "user", "content": "Hello"}])
    with torch.no_grad():
        first = run.model()(torch.tensor([ids]))[0, -1]
    tip = page.locator(".talk-tip")
    page.locator(".talk-token").first.hover()
    expect(tip).to_be_visible()
    shown = tip.locator(".number").evaluate_all("all => all.map(e => e.title)")
    want = first.softmax(-1).topk(8).values.tolist()
    assert [number(p) for p in shown] == pytest.approx(want, rel=1e-5)
    page.locator(".talk-token").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".talk-token").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    why = page.locator(".talk-why")
    expect(why).to_be_visible()
    found = load_answer(
        served.folder / "chatty", shlex.split(why.locator("code").last.inner_text())[4]
    )
    with torch.no_grad():
        logits = run.model()(torch.tensor([[*ids, found.written[0]]]))[0, -1]
    logit = number(why.locator("p .number").first.get_attribute("title"))
    assert logit == pytest.approx(float(logits[found.written[1]]), rel=1e-4)
    parts = (
        why.locator(".bars")
        .first.locator("td .number")
        .evaluate_all("all => all.map(e => e.title)")
    )
    assert sum(map(number, parts)) == pytest.approx(logit, rel=1e-4, abs=1e-4)
    assert main(shlex.split(why.locator("code").last.inner_text())[1:]) == 0
    capsys.readouterr()


def test_alternatives_and_receipt_are_in_sight_on_a_low_screen(served, page):
    page.set_viewport_size({"width": 1180, "height": 700})
    open_view(page, served, "chat", "run=chatty&temperature=0&max_tokens=4")
    for text in ("Hello", "Again", "And"):
        say(page, text)
    token = page.locator(".talk-token").last
    token.scroll_into_view_if_needed()
    token.hover()
    box = page.locator(".talk-tip").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 700
    token.click()
    title = page.locator(".talk-why h2")
    expect(title).to_be_in_viewport()
    header = page.locator("header").first.bounding_box()
    assert token.bounding_box()["y"] >= header["y"] + header["height"]


def test_stopping_keeps_what_was_written(served, page):
    open_view(page, served, "chat", "run=chatty&max_tokens=100")
    page.get_by_label("Your message").fill("Hello")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    written = page.locator(".talk-token").count()
    if written < 100:  # a fast machine may have written all of it at once
        expect(page.locator(".talk-turn").last).to_contain_text("(stopped)")
    page.get_by_role("button", name="Start over").click()  # else it may be too long to go on
    expect(page.locator(".talk-turn")).to_have_count(0)
    say(page, "And again")
    assert len(answers(page)) == 1


def test_a_base_model_goes_on_with_the_text(served, page):
    open_view(page, served, "chat", "run=bottles&temperature=0&max_tokens=8")
    expect(page.get_by_text("This model has no chat template")).to_be_visible()
    say(page, "99 bott")
    run = Run.open(served.folder / "bottles")
    assert answers(page) == [run.generate("99 bott", temperature=0, max_tokens=8)]
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".talk-token")).to_have_count(0)


def test_what_cannot_be_said_is_told_and_kept_in_the_box(served, page, context):
    open_view(page, served, "chat", "run=chatty&max_tokens=5")
    page.get_by_label("Your message").fill("word " * 300)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("tokens and the model reads")
    expect(page.get_by_label("Your message")).to_have_value("word " * 300)
    expect(page.locator(".talk-turn")).to_have_count(0)
    context.watch.errors.clear()


def test_a_phone_and_axe(served, page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(reduced_motion="reduce")
    open_view(page, served, "chat", "run=chatty&temperature=0&max_tokens=12")
    say(page, "Hello")
    page.locator(".talk-token").nth(8).click()
    expect(page.locator(".talk-why")).to_be_visible()
    page.locator(".talk-token").nth(8).hover()
    expect(page.locator(".talk-tip")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


def test_asking_piece_by_piece_is_the_terminals_answer(served):
    turn = [{"role": "user", "content": "Hello"}]
    given = {"run": "chatty", "messages": turn, "seed": 3, "max_tokens": 20, "temperature": 1.0}
    pieces, found = [], {"finished": None}
    while not found["finished"]:
        found = answer("chat", {**given, "start": len(pieces)}, served.folder)
        pieces += found["tokens"]
    run = Run.open(served.folder / "chatty")
    want = "".join(Chat(run, {"seed": 3, "temperature": 1.0}, 20).say("Hello"))
    assert "".join(p["text"] for p in pieces) == want == found["text"]
    assert [p["id"] for p in pieces] == load_answer(run.path, found["answer"]).written


def test_what_was_refused_is_refused_again_in_the_same_words(served):
    long = {"run": "chatty", "messages": [{"role": "user", "content": "word " * 300}]}
    for _ in range(2):
        with pytest.raises(WhenceError, match="tokens and the model reads"):
            answer("chat", long, served.folder)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"messages": ["Hi"]}, "a role"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "the user's"),
        ({"messages": [{"role": "user", "content": "x" * 10_000_000}]}, "100,000"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_is_refused(served, wrong, said):
    with pytest.raises(WhenceError, match=said):
        answer("chat", {"run": "chatty", **wrong}, served.folder)
