// Views in a file of their own: every answer is in the file, and nothing is asked.

import { question, unpack } from "./lib/ask.js";
import { put, trouble } from "./lib/dom.js";

export default (views) => {
  const kept = JSON.parse(document.getElementById("whence-answers").textContent);
  const baked = {};
  for (const { name, params, answer, buffers } of kept) baked[question(name, params)] = unpack(answer, buffers.map(bytes));
  for (const el of document.querySelectorAll("[data-view]")) {
    const view = el.dataset.view;
    const params = JSON.parse(el.dataset.params);
    put(el);
    el.classList.add("still");
    new MutationObserver(() => resting(el)).observe(el, { childList: true, subtree: true });
    try {
      views[view].render({ model: stillModel(view, params, baked), el });
    } catch (error) {
      put(el, trouble(error));
    }
  }
  return views;
};

function stillModel(view, params, baked) {
  const traits = { place: "still", view, params, answer: baked[question(view, params)] || null, baked, go: null };
  return {
    get: (name) => traits[name],
    set: (name, value) => (traits[name] = value),
    save_changes() {
      if (traits.go) follow(traits.go);
      traits.go = null;
    },
    on() {},
    off() {},
    send() {},
  };
}

// A link leads to the same view in this file, if it is there.
function follow({ view, params }) {
  const same = [...document.querySelectorAll(`[data-view="${CSS.escape(view)}"]`)].find((el) => question(view, JSON.parse(el.dataset.params)) === question(view, params));
  same?.scrollIntoView({ behavior: "smooth" });
}

// Nothing can be asked here: controls are left out, and links are the words that they are. What
// works without an answer is marked `data-local`.
function resting(el) {
  for (const node of el.querySelectorAll("button, input, select, textarea")) {
    if (node.closest("[data-local]") || node.hidden) continue;
    const words = node.matches(".link, .term, .lights");
    if (words) {
      const text = document.createElement("span");
      text.className = node.className.replace(/\b(link|term|lights)\b/g, "").trim();
      text.append(...node.childNodes);
      node.replaceWith(text);
    } else {
      node.hidden = true;
      const label = node.closest("label");
      if (label) label.hidden = true;
    }
  }
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}
