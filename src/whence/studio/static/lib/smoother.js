// A slider that smooths the loss: an exponential moving average over all steps, worked out by the
// server, since few points can't be averaged as all of them.

import { h } from "./dom.js";

const AGAIN = 2000; // ms between two questions while a training goes on

// `changed()` is called when there is another line. Returns { node, weight, line, follow(done), stop }.
export function smoother(record, changed) {
  const shown = h("output", { class: "number" }, "off");
  const slide = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, "aria-label": "Smoothing of the loss", oninput: () => set(Number(slide.value)) });
  const made = { node: h("label", { class: "row tight quiet smoothing", title: "weight of the past in the moving average" }, "smoothing ", slide, shown), weight: 0, line: null, follow, stop: () => clearTimeout(timer) };
  let timer = null;
  let asked = 0;
  let known = 0;

  function set(weight) {
    made.weight = weight;
    shown.textContent = weight ? weight.toFixed(2) : "off";
    clearTimeout(timer);
    timer = setTimeout(look, 120);
  }

  async function look() {
    timer = null;
    const mine = ++asked;
    if (!made.weight) made.line = null;
    else {
      const answer = await record.cut(0, undefined, { smoothing: made.weight }).catch(() => null);
      if (mine !== asked || !answer) return;
      known = answer.last + 1;
      made.line = { steps: answer.curves.smooth.step.data, values: answer.curves.smooth.value.data };
    }
    changed();
  }

  // While a training goes on, the line follows it.
  function follow(done) {
    if (made.weight && done > known && timer === null) timer = setTimeout(look, AGAIN);
  }
  return made;
}
