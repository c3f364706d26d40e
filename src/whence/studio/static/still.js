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

// A link leads where its view stands in this file; elsewhere there is nothing to follow.
function follow({ view, params }) {
  const all = [...document.querySelectorAll(`[data-view="${CSS.escape(view)}"]`)];
  const same = all.find((el) => question(view, JSON.parse(el.dataset.params)) === question(view, params));
  (same || all[0])?.scrollIntoView({ behavior: "smooth" });
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}
