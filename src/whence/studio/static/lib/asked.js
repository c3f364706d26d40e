// What the views of a traced step share: which step or text is asked about, waiting for it, bars.

import { ask } from "./ask.js";
import { h, put } from "./dom.js";
import { count, full, number, short } from "./number.js";

// The parameters that say what is asked about, out of all of a view's.
export function about(params) {
  const { run, step, text } = params;
  return { run, ...(step === undefined ? {} : { step }), ...(text ? { text } : {}) };
}

// Ask something that needs a traced step; meanwhile `node` says how far it is.
export async function askTraced(model, name, params, node) {
  let over = false;
  const started = performance.now();
  async function tell() {
    if (over) return;
    try {
      const found = await ask(model, "tracing", about(params));
      if (over) return;
      const seconds = Math.round((performance.now() - started) / 1000);
      const words = {
        replaying: `going back to step ${count(found.wanted)}: step ${count(found.reached)} is done again`,
        tracing: `recording every number of step ${count(found.wanted)}`,
        waiting: "waiting for another question",
        ready: "opening it",
      }[found.state];
      put(node, h("p", { class: "waiting", role: "status" }, h("span", { class: "pulse", "aria-hidden": "true" }), `${words}\u2026 ${seconds > 2 ? `${seconds} s` : ""}`));
    } catch {
      // the question itself will say what is wrong
    }
    if (!over) setTimeout(tell, 500);
  }
  const timer = model.get("place") === "still" ? null : setTimeout(tell, 250);
  try {
    return await ask(model, name, params);
  } finally {
    over = true;
    clearTimeout(timer);
    put(node);
  }
}

// The step slider and the text box. `change` gets {step} or {text}.
export function where(answer, change) {
  const last = Math.max(0, answer.done - 1);
  const box = h("input", { type: "number", min: 0, max: answer.text ? answer.done : last, value: answer.step, "aria-label": "Step", class: "step-box", onchange: () => change({ step: Number(box.value) }) });
  const slide = h("input", { type: "range", min: 0, max: answer.text ? answer.done : last, value: answer.step, "aria-label": "Step slider", class: "step-slide", oninput: () => (box.value = slide.value), onchange: () => change({ step: Number(slide.value) }) });
  const text = h("input", { type: "text", value: answer.text, placeholder: "the batch of this step \u2014 or type a text", "aria-label": "Text instead of the batch", class: "text-box", onchange: () => change({ text: text.value }) });
  return h("div", { class: "where row" }, h("label", { class: "field" }, h("span", {}, `step, 0 to ${count(last)}`), h("span", { class: "row tight" }, slide, box)), h("label", { class: "field wide-field" }, h("span", {}, "read"), text));
}

// Rows of signed bars around a common zero. Each row: {label, value, more (a node), open()}.
export function bars(rows, whole) {
  const most = Math.max(...rows.map((r) => Math.abs(number(r.value)) || 0), 1e-300);
  return h("table", { class: "bars wide" }, h("tbody", {}, rows.map((r) => bar(r, most, whole))));
}

function bar(row, most) {
  const x = number(row.value);
  const wide = Math.max(0.6, (50 * Math.abs(x)) / most);
  const fill = h("span", { class: x < 0 ? "bar-fill minus" : "bar-fill plus", style: { width: `${x ? wide : 0}%` } });
  const label = row.open ? h("button", { type: "button", class: "link", "aria-expanded": row.expanded === undefined ? null : String(row.expanded), onclick: row.open }, row.label) : row.label;
  return h("tr", { class: row.kind || null }, h("th", { scope: "row" }, label, row.note ? h("span", { class: "quiet note" }, row.note) : null), h("td", { class: "bar-place", "aria-hidden": "true" }, fill), h("td", { class: "n" }, glyph(x)));
}

function glyph(x) {
  if (!(x > 0 || x < 0)) return h("span", { class: "number", title: full(x) }, short(x));
  return h("span", { class: x > 0 ? "number pos" : "number neg", title: full(x) }, x > 0 ? "\u25b2 " : "\u25bc ", short(x));
}

const SAID = {
  exact: "nothing was lost",
  rounded: "the residual is no more than rounding leaves",
  "rounding noise": "no larger than rounding can make it: nothing is to be blamed for it",
  sampled: "it was drawn at random",
  given: "no operation of this step made it",
  "closed box": "the operation has no rule: it stays closed",
  "does not add up": "the residual is more than rounding leaves",
};

// Exact, rounded or sampled, always said, with the residual.
export function judged(receipt) {
  const bad = receipt.verdict === "does not add up";
  const left = ["given", "closed box"].includes(receipt.verdict) ? null : h("span", {}, " Residual ", h("span", { class: "number", title: full(receipt.residual) }, short(receipt.residual)), " of at most ", h("span", { class: "number", title: full(receipt.bound) }, short(receipt.bound)));
  return h("p", { class: "judged" }, h("span", { class: `badge ${bad ? "bad" : receipt.verdict.replaceAll(" ", "-")}` }, receipt.verdict), h("span", { class: "quiet" }, ` ${SAID[receipt.verdict] || ""}.`, left, receipt.recomputed ? ". Recomputed: the kernel kept none of its intermediate numbers." : null));
}
