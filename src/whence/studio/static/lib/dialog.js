// A question in front of the page: the browser's own dialog, which holds the focus and knows Escape.

import { button, h, put, trouble } from "./dom.js";

// `act` is called with the form; what it throws is shown, and the dialog stays.
export function dialog(el, { title, body, label, danger = false, act }) {
  const said = h("div", {});
  const yes = button(label, go, { class: danger ? "danger" : "primary", "data-yes": "" });
  const form = h("form", { method: "dialog", onsubmit: (event) => (event.preventDefault(), go()) }, h("h2", {}, title), body, said, h("div", { class: "row end" }, button("Cancel", close), yes));
  const node = h("dialog", { "aria-label": title, onclose: () => node.remove() }, form);
  function close() {
    node.close();
  }
  async function go() {
    yes.disabled = true;
    put(said, h("p", { class: "quiet" }, "…"));
    try {
      await act(form);
      close();
    } catch (error) {
      put(said, trouble(error));
      yes.disabled = false;
    }
  }
  el.append(node);
  node.showModal();
}

export function field(label, control) {
  return h("label", { class: "field" }, h("span", {}, label), control);
}

// What was typed, as a number where it is one.
export function typed(text) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  const value = Number(trimmed);
  if (!Number.isNaN(value)) return value;
  return { true: true, false: false }[trimmed] ?? trimmed;
}
