// Runs over each other: what differs in their recipes, where their losses part, what came of it.

import { asks, first } from "../lib/ask.js";
import { chart } from "../lib/chart.js";
import { copies } from "../lib/copy.js";
import { h, put, scrolls, trouble } from "../lib/dom.js";
import { failed } from "../lib/failed.js";
import { count, digits } from "../lib/number.js";
import { points } from "../lib/points.js";

const COLOURS = ["var(--accent)", "var(--second)", "var(--k)", "var(--v)", "var(--good)", "var(--bad)", "var(--ink)", "var(--quiet)"];

function render({ model, el }) {
  const { a, b, more = [] } = model.get("params");
  const names = [...new Set([a, b, ...more])].filter(Boolean);
  const records = asks(model) ? names.map((name) => points(model, name)) : [];
  const line = (name, i, { step, value }) => ({ name, of: "loss", record: records[i], colour: COLOURS[i], steps: step.data, values: value.data, width: 1.2 });
  const cut = records.length ? async (from, to) => Promise.all(names.map(async (name, i) => line(name, i, (await records[i].cut(from, to)).curves.loss))) : undefined;
  const loss = chart({ title: "Training loss", axis: "loss, nats per token", height: 280, cut });
  const validation = chart({ title: "Validation loss", axis: "loss, nats per token", height: 220 });
  const body = h("div", {});
  put(el, h("div", { class: "head" }, h("h1", {}, titled(names))), body);
  first(model, "compare", model.get("params"))
    .then((answer) => {
      put(body, told(answer), h("div", { class: "panel" }, loss.node), h("div", { class: "panel" }, validation.node), recipes(answer), wrote(answer), copies(answer));
      const parts = answer.differences.flatMap((step, i) => (step ? [{ step, text: `${answer.runs[0].name} and ${answer.runs[i + 1].name} diverge here` }] : []));
      loss.update(answer.runs.map((run, i) => line(run.name, i, run.loss)), parts);
      validation.update(answer.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i], steps: run.validation.map(([step]) => step), values: run.validation.map(([, value]) => value), dots: true, width: 2 })));
      el.dataset.ready = "";
    })
    .catch((error) => failed(model, el, error, h("h1", {}, titled(names))));
  return () => [loss, validation].forEach((each) => each.close());
}

function titled(names) {
  if (names.length < 2) return names.length ? `${names[0]} and another run` : "Compare";
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function told(answer) {
  const [one, ...others] = answer.runs;
  return [
    answer.origin ? h("p", {}, answer.origin) : null,
    answer.same_text ? null : trouble("The runs were trained on different texts: their losses can't be compared."),
    others.map((other, i) => {
      const where = answer.differences[i];
      const who = others.length > 1 ? `The losses of ${one.name} and ${other.name}` : "Their losses";
      const shared = Math.min(one.done, other.done);
      return h("p", { "data-first": where ?? "none" }, where === null ? `${who} are identical, bit for bit, in all ${count(shared)} steps that both have done.` : [`${who} first differ at step `, h("strong", {}, count(where)), "."]);
    }),
    h("dl", { class: "facts" }, answer.runs.map((run, i) => h("div", {}, h("dt", { class: "key", style: { "--colour": COLOURS[i] } }, run.name), h("dd", {}, digits(run.bits_per_byte), h("span", { class: "quiet small" }, ` bits/byte at best; ${count(run.done)} steps`))))),
  ];
}

function recipes(answer) {
  if (!answer.recipe.length) return h("p", {}, "Their settings are identical.");
  const shown = (value) => (value === null ? "\u2013" : Array.isArray(value) ? value.join(", ") : String(value));
  const rows = answer.recipe.map(([name, ...values]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), values.map((value) => h("td", {}, shown(value)))));
  return h("section", { class: "panel" }, h("h2", {}, "Settings that differ"), h("div", scrolls("Settings that differ"), h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["setting", ...answer.runs.map((run) => run.name)].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
}

function wrote(answer) {
  const samples = answer.runs.filter((run) => run.sample !== null);
  if (!samples.length) return null;
  return h("section", { class: "panel" }, h("h2", {}, "Latest samples"), h("div", { class: "columns" }, samples.map((run) => h("div", {}, h("span", { class: "label" }, run.name), h("pre", { class: "sample" }, run.sample)))));
}

export default { render };
