// What the views of a traced step share: which step or text is asked about, waiting for it, bars.

import { ask } from "./ask.js";
import { h, put } from "./dom.js";
import { count, digits, full, number, short } from "./number.js";
import { trimmed } from "./terms.js";

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
        replaying: `Replaying up to step ${count(found.wanted)}: at step ${count(found.reached)}`,
        tracing: `Recording every number of step ${count(found.wanted)}`,
        waiting: "Waiting for another request",
        ready: "Opening it",
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
  const text = h("input", { type: "text", value: answer.text, placeholder: "this step's batch, or type a text", "aria-label": "Text instead of the batch", class: "text-box", onchange: () => change({ text: text.value, ...(text.value || answer.step <= last ? {} : { step: last }) }) }); // behind the last step there is no batch
  return h("div", { class: "where row" }, h("label", { class: "field" }, h("span", {}, `step, 0 to ${count(answer.text ? answer.done : last)}`), h("span", { class: "row tight" }, slide, box)), h("label", { class: "field wide-field" }, h("span", {}, "input text"), text));
}

// The step's loss and what is to be said of it; a note that begins with the loss says it already.
export function lossOf(answer) {
  const notes = answer.notes.map((note) => h("span", { title: note }, trimmed(note)));
  const known = answer.notes.some((note) => note.startsWith("loss "));
  return [...(known ? [] : [h("span", {}, "loss ", digits(answer.loss))]), ...notes].map((each, i) => [i ? "; " : "", each]);
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
  exact: "no rounding error",
  rounded: "the residual is within rounding error",
  "rounding noise": "no larger than rounding error, so it isn't attributed to anything",
  sampled: "drawn at random",
  given: "not computed in this step",
  "closed box": "there is no rule that opens this operation",
  "does not add up": "the residual is larger than rounding error",
};

// Exact, rounded or sampled, always said, with the residual.
export function judged(receipt) {
  const bad = receipt.verdict === "does not add up";
  const left = ["given", "closed box"].includes(receipt.verdict) ? null : h("span", {}, " Residual ", h("span", { class: "number", title: full(receipt.residual) }, short(receipt.residual)), ", bound ", h("span", { class: "number", title: full(receipt.bound) }, short(receipt.bound)));
  return h("p", { class: "judged" }, h("span", { class: `badge ${bad ? "bad" : receipt.verdict.replaceAll(" ", "-")}` }, receipt.verdict), h("span", { class: "quiet" }, ` ${SAID[receipt.verdict] || ""}.`, left, receipt.recomputed ? ". Recomputed, because the kernel keeps no intermediate values." : null));
}
