"""The widget's own module in Chromium, its messages answered by the widget's own Python."""

import base64
import html
import json

import pytest
from playwright.sync_api import expect

from whence import Run
from whence.errors import WhenceError
from whence.play import at
from whence.studio.widget import View

# A model as anywidget gives it; what is sent goes to Python, what Python sends comes as DataViews.
MODEL = """
import view from "./view.js";
const traits = JSON.parse(document.body.dataset.traits), listeners = {};
const model = {
  get: (name) => traits[name],
  set: (name, value) => { traits[name] = value; (model.changed ??= new Set()).add(name); },
  save_changes: () => {
    const names = [...(model.changed ?? [])];
    model.changed = new Set();
    window.saved(JSON.stringify(traits));
    for (const name of names) for (const each of listeners["change:" + name] ?? []) each();
  },
  on: (name, each) => (listeners[name] ??= []).push(each),
  off: (name, each) => (listeners[name] = (listeners[name] ?? []).filter((one) => one !== each)),
  send: async (content) => {
    for (const [reply, buffers] of await window.sent(content)) {
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
      const views = buffers.map((text) => new DataView(bytes(text)));
      for (const each of listeners["msg:custom"] ?? []) each(reply, views);
    }
  },
};
window.leave = view.render({ model, el: document.querySelector("#cell") });
"""


@pytest.fixture
def notebook(page):
    """Show a widget in a page as a notebook would."""

    def shown(widget):
        replies, kept = [], {}
        widget.send = lambda content, buffers=(): replies.append((content, buffers))

        def sent(content):
            widget._handle_custom_msg(content, [])
            found = [(c, [base64.b64encode(b).decode() for b in data]) for c, data in replies]
            replies.clear()
            return found

        page.expose_function("sent", sent)
        page.expose_function("saved", lambda text: kept.update(text=text))
        names = ("view", "params", "answer", "go", "place")
        traits = html.escape(json.dumps({name: getattr(widget, name) for name in names}))
        body = (
            f'<!doctype html><body data-traits="{traits}"><div id="cell"></div>'
            '<script type="module" src="model.js"></script>'
        )
        files = {
            "": ("text/html", body),
            "view.js": ("text/javascript", str(widget._esm)),
            "model.js": ("text/javascript", MODEL),
        }

        def serve(route):
            kind, text = files.get(route.request.url.rsplit("/", 1)[-1], ("text/plain", ""))
            route.fulfill(content_type=f"{kind}; charset=utf-8", body=text)

        page.route("http://127.0.0.1:9/**", serve)
        page.goto("http://127.0.0.1:9/")
        return page.locator("#cell"), kept

    return shown


def test_play_in_a_notebook(notebook, page, tmp_path):
    cell, kept = notebook(View(tmp_path, "play", {"data": "three"}))
    expect(cell.locator("section[data-ready]").first).to_be_visible()
    page.get_by_role("button", name="Epoch").click()
    expect(cell.locator("[data-step='3']")).to_be_visible()
    expect(cell.locator(".dead")).to_contain_text("shut by update 3")
    assert '"step":3' in kept["text"]
    cell.locator(".net .edge").first.click()
    title = cell.locator(".whence-of strong .number").first.get_attribute("title")
    assert float(title or 0) == at(4, "three").named["w1"].data


def test_a_run_shows_itself(notebook, page, tiny_run):
    cell, _ = notebook(Run.open(tiny_run).view("live"))
    expect(cell.locator("section[data-ready]").first).to_be_visible()
    expect(cell.locator(".chart path.line").first).to_be_visible()


def test_what_is_not_a_question_is_refused(tmp_path):
    widget, told = View(tmp_path, "play", {}), []
    widget.send = lambda content, buffers=(): told.append(content)
    for message in (
        {"type": "command", "id": "1", "name": "remove"},
        {"type": "ask", "name": "x"},
        7,
    ):
        widget._handle_custom_msg(message, [])
    assert [each["type"] for each in told] == ["error"] * 3
    with pytest.raises(WhenceError, match="no view"):
        View(tmp_path, "tea", {})
    assert "<iframe" in widget.still()._repr_html_()


def test_a_view_shows_in_the_html_of_nbconvert(browser, tiny_run, tmp_path):
    """A notebook as JupyterLab saves it, with no kernel behind it and no network."""
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    data, _ = Run.open(tiny_run).view("live")._repr_mimebundle_()
    cell = new_code_cell("run.view()", outputs=[new_output("display_data", data)])
    body, _ = HTMLExporter().from_notebook_node(new_notebook(cells=[cell]))
    path = tmp_path / "notebook.html"
    path.write_text(body, encoding="utf-8")
    page = browser.new_page()
    page.route(lambda url: url.startswith("http"), lambda route: route.abort())
    page.goto(path.as_uri())
    view = page.frame_locator("iframe[title=Whence]").locator("[data-view=live]")
    expect(view.locator(".chart path.line").first).to_be_visible()
    expect(view.get_by_role("heading", level=1)).to_have_text(tiny_run.name)
    page.close()
