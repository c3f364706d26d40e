// A view that has nothing to show: what is wrong, and ways out in place of its controls.

import { go } from "./ask.js";
import { button, h, put, trouble } from "./dom.js";

// `around` is what stays of the view, such as its heading; `way` a button that leads on.
export function failed(model, el, error, around, way) {
  const params = model.get("params") || {};
  const view = model.get("view");
  const ways = [];
  if (model.get("place") === "page") {
    const { step, address, trail, ...rest } = params;
    if (way) ways.push(way);
    else if (step !== undefined || address !== undefined) ways.push(button("Open the last step", () => go(model, view, rest), { class: "primary" }));
    else ways.push(button("Try again", () => location.reload(), { class: "primary" }));
    ways.push(button("Show the runs", () => go(model, "runs", {})));
  }
  put(el, around ? h("div", { class: "head" }, around) : null, trouble(error, ...ways));
  el.dataset.failed = "";
  el.dataset.ready = "";
}
