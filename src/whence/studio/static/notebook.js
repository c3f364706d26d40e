// Views in a notebook: the one that was asked for, and below it the last one that a link opened.

import { h, put } from "./lib/dom.js";

export default (views) => ({
  render({ model, el }) {
    const top = h("section", { class: "view" });
    const below = h("section", { class: "view" });
    el.classList.add("whence", "in-notebook");
    put(el, top, below);
    let leave = null;

    function show(place, view, own) {
      if (views[view]) return views[view].render({ model: own, el: place });
      put(place, h("p", { class: "trouble" }, `There is no view called ${view}.`));
      return null;
    }

    function opened() {
      const go = model.get("go");
      if (!go) return;
      leave?.();
      put(below);
      delete below.dataset.ready;
      leave = show(below, go.view, follower(model, go));
      below.scrollIntoView?.({ block: "nearest" });
    }

    model.on("change:go", opened);
    const first = show(top, model.get("view"), model);
    return () => {
      model.off("change:go", opened);
      first?.();
      leave?.();
    };
  },
});

// The model of a view that another one opened: the same in all but what it shows.
function follower(model, { view, params }) {
  const own = { view, params: params || {}, answer: null };
  return {
    get: (name) => (name in own ? own[name] : model.get(name)),
    set(name, value) {
      if (name in own) own[name] = value;
      else model.set(name, value);
    },
    save_changes: () => model.save_changes(),
    on: (name, listener) => model.on(name, listener),
    off: (name, listener) => model.off(name, listener),
    send: (content) => model.send(content),
  };
}
