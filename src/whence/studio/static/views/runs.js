// View 1: all runs.

import { first, go } from "../lib/ask.js";
import { copies } from "../lib/copy.js";
import { h, put, trouble } from "../lib/dom.js";
import { bytes, count, digits } from "../lib/number.js";

function render({ model, el }) {
  const body = h("div", {});
  put(el, h("h1", {}, "Runs"), body);
  first(model, "runs", {})
    .then((answer) => put(body, table(model, answer), copies(answer)))
    .catch((error) => put(body, trouble(error)))
    .finally(() => (el.dataset.ready = ""));
  return () => {};
}

function table(model, answer) {
  const head = ["run", "state", "model", "steps", "loss", "bits/byte", "disk"];
  return h("table", { class: "wide" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, answer.runs.map((run) => row(model, run))));
}

function row(model, run) {
  if (!run.model) return h("tr", {}, h("td", {}, run.name), h("td", { colspan: 6, class: "trouble" }, run.trouble));
  return h(
    "tr",
    { "data-run": run.name },
    h("td", {}, h("a", { href: "#", onclick: (event) => (event.preventDefault(), go(model, "live", { run: run.name })) }, run.name)),
    h("td", {}, run.state),
    h("td", {}, run.model),
    h("td", {}, `${count(run.done)} of ${count(run.steps)}`),
    h("td", {}, digits(run.loss)),
    h("td", {}, digits(run.bits_per_byte)),
    h("td", {}, bytes(run.bytes)),
  );
}

export default { render };
