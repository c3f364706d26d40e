// View 1: all runs, with what each is doing; start, compare, fork, delete.

import { ask, command, commands, first, go } from "../lib/ask.js";
import { copies } from "../lib/copy.js";
import { dialog } from "../lib/dialog.js";
import { append, button, h, put, scrolls, trouble } from "../lib/dom.js";
import { failed } from "../lib/failed.js";
import { forkDialog, startForm } from "../lib/forms.js";
import { bytes, count, digits } from "../lib/number.js";
import { sparkline } from "../lib/scales.js";

const COLUMNS = ["", "run", "state", "steps", "loss", "bits/byte", "tokens/s", "disk", ""];
const EVERY = 2000;

function render({ model, el }) {
  const chosen = new Set();
  const rows = new Map();
  const live = commands(model);
  const train = button("Train a model", toggle, { class: "primary", "aria-expanded": "false" });
  const compare = button("Compare", () => go(model, "compare", pair()), { disabled: true, title: "choose two runs" });
  const place = h("div", {});
  const said = h("div", { "aria-live": "polite" });
  const body = h("tbody", {});
  const table = h("table", { class: "wide runs" }, h("thead", {}, h("tr", {}, COLUMNS.map((name, i) => h("th", { scope: "col" }, name || h("span", { class: "hidden" }, i ? "what can be done" : "chosen"))))), body);
  const foot = h("div", {});
  const none = h("p", { class: "quiet" }, "No runs here yet. Train one: a small model takes a minute.");
  put(el, h("div", { class: "head" }, h("h1", {}, "Runs"), live ? h("div", { class: "row" }, compare, train) : null), place, said, none, h("div", scrolls("Runs"), table), foot);
  none.hidden = table.hidden = true;

  function pair() {
    const [a, b] = [...chosen];
    return { a, b };
  }

  function toggle() {
    const open = place.childElementCount === 0;
    train.setAttribute("aria-expanded", String(open));
    put(place, open ? startForm(model) : null);
    if (open) place.querySelector("select")?.focus();
  }

  function choose(name, on) {
    if (on) chosen.add(name);
    else chosen.delete(name);
    compare.disabled = chosen.size !== 2;
  }

  function show(answer) {
    put(said);
    none.hidden = answer.runs.length > 0;
    table.hidden = !answer.runs.length;
    for (const [name, row] of rows) {
      if (answer.runs.some((run) => run.name === name)) continue;
      row.node.remove();
      row.why.remove();
      rows.delete(name);
      choose(name, false);
    }
    const order = [];
    answer.runs.forEach((run) => {
      if (!rows.has(run.name)) rows.set(run.name, makeRow(run.name));
      const row = rows.get(run.name);
      row.fill(run);
      order.push(row.node, ...(row.why.isConnected || run.trouble ? [row.why] : []));
    });
    order.forEach((node, i) => body.children[i] === node || body.insertBefore(node, body.children[i] || null));
    if (!foot.childElementCount) append(foot, [copies(answer)]);
  }

  function makeRow(name) {
    const cells = COLUMNS.map((label) => h("td", { "data-label": label || null }));
    const node = h("tr", { "data-run": name }, cells);
    const told = h("td", { colspan: COLUMNS.length - 1 });
    const why = h("tr", { class: "why-row", "data-why": name }, h("td", {}), told);
    // What is wrong with a run stands below it, as wide as the table.
    function tell(message) {
      if (!message) return why.remove();
      put(told, trouble(message));
      node.after(why);
    }
    const tick = h("input", { type: "checkbox", "aria-label": `choose ${name} to compare`, onchange: (event) => choose(name, event.target.checked) });
    let last = "";
    return {
      node,
      why,
      fill(run) {
        const now = JSON.stringify([run.state, run.done, run.steps, run.bytes, run.trouble, run.bits_per_byte]);
        if (now === last) return;
        last = now;
        node.dataset.state = run.state;
        const [, who, state, steps, loss, bits, speed, disk, acts] = cells;
        put(state, h("span", { class: `state ${run.state}` }, run.state));
        tell(run.trouble);
        if (!acts.childElementCount && live) put(acts, h("div", { class: "row tight" }, run.model && run.model !== "ngram" ? button("Fork", () => forkDialog(model, el, name, node.done, node.done), { class: "small" }) : null, button("Delete", () => removeDialog(name, node.size), { class: "small danger", "aria-label": `Delete ${name}` })));
        node.done = run.done || 0;
        node.size = run.bytes;
        if (live && run.model && !tick.isConnected) cells[0].append(tick);
        if (!who.childElementCount) put(who, run.model ? h("a", { class: "name", href: `#/live?run=${encodeURIComponent(name)}`, onclick: (event) => (event.preventDefault(), go(model, "live", { run: name })) }, name) : h("span", { class: "name" }, name), h("div", { class: "quiet small" }, run.model ? `${run.model} on ${run.text}` : "", run.origin ? [h("br", {}), run.origin] : null));
        if (!run.model) return;
        put(steps, count(run.done), h("span", { class: "quiet" }, ` of ${count(run.steps)}`), h("progress", { max: run.steps, value: run.done, "aria-label": "steps done" }));
        put(loss, h("div", { class: "row tight" }, sparkline(run.spark.step.data, run.spark.loss.data), digits(run.loss)));
        put(bits, digits(run.bits_per_byte));
        put(speed, run.tokens_per_second === null ? "–" : count(run.tokens_per_second));
        put(disk, bytes(run.bytes));
      },
    };
  }

  function removeDialog(name, size) {
    dialog(el, {
      title: `Delete ${name}?`,
      body: h("p", {}, `What it made${size ? `, ${bytes(size)},` : ""} is deleted: its record and checkpoints. Files that no run made stay in its folder. This can't be undone.`),
      label: "Delete",
      danger: true,
      act: async () => {
        await command(model, "remove", { run: name });
        await refresh();
      },
    });
  }

  let timer = null;
  let gone = false;
  async function refresh(answer) {
    clearTimeout(timer);
    try {
      show(answer || (await ask(model, "runs", {})));
    } catch (error) {
      put(said, trouble(error));
    }
    if (!gone && live) timer = setTimeout(() => (document.hidden ? wait() : refresh()), EVERY);
  }
  function wait() {
    timer = setTimeout(() => (document.hidden ? wait() : refresh()), EVERY);
  }

  first(model, "runs", {})
    .then((answer) => {
      if (!answer.runs.length && live) toggle();
      return refresh(answer);
    })
    .catch((error) => failed(model, el, error, h("h1", {}, "Runs")))
    .finally(() => (el.dataset.ready = ""));
  return () => {
    gone = true;
    clearTimeout(timer);
  };
}

export default { render };
