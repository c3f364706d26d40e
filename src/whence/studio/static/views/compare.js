// Two runs over each other: what differs in their recipes, where their losses part, what came of it.

import { first } from "../lib/ask.js";
import { chart } from "../lib/chart.js";
import { copies } from "../lib/copy.js";
import { h, put, trouble } from "../lib/dom.js";
import { count, digits } from "../lib/number.js";

const COLOURS = ["var(--accent)", "var(--second)"];

function render({ model, el }) {
  const { a, b } = model.get("params");
  const loss = chart({ title: "Loss on the batch", height: 260, zoom: true });
  const validation = chart({ title: "Loss on validation", height: 200 });
  const body = h("div", {});
  put(el, h("div", { class: "head" }, h("h1", {}, `${a} and ${b}`)), body);
  first(model, "compare", { a, b })
    .then((answer) => {
      put(body, told(answer), h("div", { class: "panel" }, loss.node), h("div", { class: "panel" }, validation.node), recipes(answer), wrote(answer), copies(answer));
      loss.update(answer.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i], steps: run.loss.step.data, values: run.loss.value.data, width: 1.2 })), answer.first_difference ? [{ step: answer.first_difference, text: "here they part" }] : []);
      validation.update(answer.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i], steps: run.validation.map(([step]) => step), values: run.validation.map(([, value]) => value), dots: true, width: 2 })));
    })
    .catch((error) => put(body, trouble(error)))
    .finally(() => (el.dataset.ready = ""));
  return () => [loss, validation].forEach((each) => each.close());
}

function told(answer) {
  const where = answer.first_difference;
  return [
    answer.origin ? h("p", {}, answer.origin) : null,
    answer.same_text ? null : h("p", { class: "trouble" }, "Their texts differ: their losses do not compare."),
    h("p", { "data-first": where ?? "none" }, where === null ? `Their losses are the same to the bit in all ${count(answer.shared)} steps that both have done.` : ["Their losses first differ at step ", h("strong", {}, count(where)), "."]),
    h("dl", { class: "facts" }, answer.runs.map((run, i) => h("div", {}, h("dt", { class: "key", style: { "--colour": COLOURS[i] } }, run.name), h("dd", {}, digits(run.bits_per_byte), h("span", { class: "quiet small" }, ` bits/byte at best, ${count(run.done)} steps`))))),
  ];
}

function recipes(answer) {
  if (!answer.recipe.length) return h("p", {}, "Their recipes are the same.");
  const rows = answer.recipe.map(([name, mine, theirs]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), [mine, theirs].map((value) => h("td", {}, value === null ? "–" : String(value)))));
  return h("section", { class: "panel" }, h("h2", {}, "What differs in their recipes"), h("div", { class: "scroll" }, h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["", ...answer.runs.map((run) => run.name)].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
}

function wrote(answer) {
  const samples = answer.runs.filter((run) => run.sample !== null);
  if (!samples.length) return null;
  return h("section", { class: "panel" }, h("h2", {}, "What they last wrote"), h("div", { class: "columns" }, samples.map((run) => h("div", {}, h("span", { class: "label" }, run.name), h("pre", { class: "sample" }, run.sample)))));
}

export default { render };
