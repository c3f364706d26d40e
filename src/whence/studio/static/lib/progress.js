// What is seen while an experiment of a lesson runs: how far it is and how long it will still take.

import { ask } from "./ask.js";
import { h, put } from "./dom.js";

const EVERY = 500;

// Show it in `node` until the function that is returned is called.
export function progress(model, lesson, node) {
  const bar = h("progress", { max: 1, "aria-label": "the experiment" });
  const said = h("span", { class: "quiet small" }, "The experiment is running\u2026");
  let over = false;
  async function look() {
    if (over) return;
    if (!bar.isConnected) put(node, h("div", { class: "experiment", role: "status" }, bar, said));
    try {
      const { cell, since, takes } = await ask(model, "running", { lesson });
      if (over) return;
      if (cell !== null && takes) {
        bar.value = Math.min(0.98, since / takes);
        const left = Math.ceil(takes - since);
        put(said, left > 0 ? `The experiment is running: about ${left} s left` : "The experiment is running: almost done (it takes longer on this computer)");
      } else bar.removeAttribute("value");
    } catch {
      // the question itself will say what is wrong
    }
    if (!over) setTimeout(look, EVERY);
  }
  const timer = setTimeout(look, 400);
  return () => {
    if (over) return; // what stands there now is another's
    over = true;
    clearTimeout(timer);
    put(node);
  };
}
