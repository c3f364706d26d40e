// View 1: all runs, with what each is doing; start, find, sort, group, tag, compare, fork, delete.

import { ask, command, commands, first, go, remember } from "../lib/ask.js";
import { copies } from "../lib/copy.js";
import { dialog } from "../lib/dialog.js";
import { append, button, h, put, scrolls, trouble } from "../lib/dom.js";
import { dropped } from "../lib/dropped.js";
import { failed } from "../lib/failed.js";
import { forkDialog, startForm } from "../lib/forms.js";
import { bytes, count } from "../lib/number.js";
import { SORTS, grouped, lastOf, matching, sorted } from "../lib/runlist.js";
import { runRow } from "../lib/runrow.js";

const COLUMNS = ["", "run", "state", "steps", "loss", "validation", "bits/byte", "tokens/s", "disk", ""];
const MEANT = { loss: "on the last batch, in nats per token", validation: "lowest validation loss, in nats per token", "bits/byte": "lowest on validation" };
const EVERY = 2000;
const MOST = 8; // runs that are compared at once

function render({ model, el }) {
  let params = { find: "", sort: "", group: "", ...model.get("params") };
  let answer = null;
  const chosen = new Set();
  const rows = new Map();
  const live = commands(model);
  const train = button("Train a model", () => toggle(), { class: "primary", "aria-expanded": "false" });
  const compare = button("Compare", () => go(model, "compare", pair()), { disabled: true, title: `select two to ${MOST} runs` });
  const place = h("div", {});
  const said = h("div", { "aria-live": "polite" });
  const find = h("input", { type: "search", value: params.find, placeholder: "name, tag, model, setting\u2026", "aria-label": "Find runs", oninput: () => keep({ find: find.value }) });
  const group = h("select", { "aria-label": "Group by", onchange: () => keep({ group: group.value }) });
  const shown = h("span", { class: "quiet", "aria-live": "polite" });
  const tools = h("div", { class: "row run-tools", "data-local": "", hidden: true }, h("label", { class: "field" }, h("span", {}, "find"), find), h("label", { class: "field" }, h("span", {}, "group by"), group), shown);
  const heads = COLUMNS.map((name, i) => h("th", { scope: "col" }, name in SORTS ? button(name, () => sortBy(name), { class: "sort", "data-local": "", title: MEANT[name] || null }) : h("span", { class: "hidden" }, i ? "actions" : "selected")));
  const body = h("tbody", {});
  const table = h("table", { class: "wide runs" }, h("thead", {}, h("tr", {}, heads)), body);
  const foot = h("div", {});
  const none = h("p", { class: "quiet" }, "No runs yet. Train one (a small model takes a minute), or drop a text file on this page.");
  put(el, h("div", { class: "head" }, h("h1", {}, "Runs"), live ? h("div", { class: "row" }, compare, train) : null), place, said, tools, none, h("div", scrolls("Runs"), table), foot);
  none.hidden = table.hidden = true;
  const undrop = live ? dropped(el, (file) => toggle(file)) : () => {};

  function pair() {
    const [a, b, ...more] = [...chosen];
    return { a, b, ...(more.length ? { more } : {}) };
  }

  // Open the form or close it; a file that was dropped opens it anew.
  function toggle(file) {
    const open = Boolean(file) || place.childElementCount === 0;
    train.setAttribute("aria-expanded", String(open));
    put(place, open ? startForm(model, file) : null);
    if (open) place.scrollIntoView({ block: "nearest" });
  }

  function choose(name, on) {
    if (on) chosen.add(name);
    else chosen.delete(name);
    compare.disabled = chosen.size < 2 || chosen.size > MOST;
    put(compare, chosen.size > 2 ? `Compare ${chosen.size} runs` : "Compare");
  }

  function keep(changes) {
    params = { ...params, ...changes };
    find.value = params.find;
    remember(model, Object.fromEntries(Object.entries(params).filter(([, value]) => value)));
    if (answer) order();
  }

  // The first click sorts, the second the other way round, the third as before: the newest first.
  function sortBy(name) {
    const [up, down] = [name, `-${name}`];
    const [one, other] = SORTS[name][1] ? [down, up] : [up, down];
    keep({ sort: params.sort === one ? other : params.sort === other ? "" : one });
  }

  function show(found) {
    answer = found;
    put(said);
    const runs = found.runs;
    none.hidden = runs.length > 0;
    table.hidden = !runs.length;
    tools.hidden = runs.length < 2;
    const groups = ["model", "text", "state", "tag", ...found.differs];
    if (group.options.length !== groups.length + 1) put(group, h("option", { value: "" }, "none"), groups.map((name) => h("option", { value: name }, name.includes(".") ? `${lastOf(name)} (${name})` : lastOf(name))));
    group.value = groups.includes(params.group) ? params.group : "";
    for (const [name, row] of rows) {
      if (runs.some((run) => run.name === name)) continue;
      row.node.remove();
      row.why.remove();
      rows.delete(name);
      choose(name, false);
    }
    for (const run of runs) {
      if (!rows.has(run.name)) rows.set(run.name, makeRow(run.name));
      rows.get(run.name).fill(run);
    }
    order();
    if (!foot.childElementCount) append(foot, [copies(found)]);
  }

  // Put the rows in their places; one that is there already stays untouched, and so does the focus.
  function order() {
    const runs = sorted(matching(answer.runs, params.find), params.sort);
    put(shown, runs.length < answer.runs.length ? `${count(runs.length)} of ${count(answer.runs.length)} runs` : `${count(runs.length)} runs`);
    COLUMNS.forEach((name, i) => {
      const on = params.sort.replace(/^-/, "") === name && name;
      heads[i].toggleAttribute("aria-sort", Boolean(on));
      if (on) heads[i].setAttribute("aria-sort", params.sort.startsWith("-") ? "descending" : "ascending");
    });
    const old = new Map([...body.querySelectorAll(".group-row")].map((node) => [node.dataset.group, node]));
    const wanted = grouped(runs, group.value).flatMap(([name, members]) => {
      const head = name === "" && !group.value ? [] : [old.get(name) || h("tr", { class: "group-row", "data-group": name }, h("th", { scope: "colgroup", colspan: COLUMNS.length }, name))];
      return [...head, ...members.flatMap((run) => (run.trouble ? [rows.get(run.name).node, rows.get(run.name).why] : [rows.get(run.name).node]))];
    });
    for (const node of [...body.children]) if (!wanted.includes(node)) node.remove();
    wanted.forEach((node, i) => body.children[i] === node || body.insertBefore(node, body.children[i] || null));
  }

  function makeRow(name) {
    return runRow(name, COLUMNS, {
      live,
      open: () => go(model, "live", { run: name }),
      fork: (done) => forkDialog(model, el, name, done, done),
      remove: (size) => removeDialog(name, size),
      choose: (on) => choose(name, on),
      find: (word) => keep({ find: word }),
      tags: async (tags) => {
        try {
          await command(model, "tag", { run: name, tags });
          await refresh();
        } catch (error) {
          put(said, trouble(error));
        }
      },
    });
  }

  function removeDialog(name, size) {
    dialog(el, {
      title: `Delete ${name}?`,
      body: h("p", {}, `This deletes the run's record and checkpoints${size ? ` (${bytes(size)})` : ""}. Other files in its folder are kept. This can't be undone.`),
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
  async function refresh(found) {
    clearTimeout(timer);
    try {
      show(found || (await ask(model, "runs", {})));
    } catch (error) {
      put(said, trouble(error));
    }
    if (!gone && live) wait();
  }
  function wait() {
    timer = setTimeout(() => (document.hidden ? wait() : refresh()), EVERY);
  }

  first(model, "runs", {})
    .then((found) => {
      if (!found.runs.length && live) toggle();
      return refresh(found);
    })
    .catch((error) => failed(model, el, error, h("h1", {}, "Runs")))
    .finally(() => (el.dataset.ready = ""));
  return () => {
    gone = true;
    clearTimeout(timer);
    undrop();
  };
}

export default { render };
