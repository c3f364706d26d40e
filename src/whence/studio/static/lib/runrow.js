// One run's row in the list, and below it what is wrong with the run.

import { button, h, put, trouble } from "./dom.js";
import { bytes, count, digits } from "./number.js";
import { lastOf, said } from "./runlist.js";
import { sparkline } from "./scales.js";

const SHOWN = 3; // settings that differ, beside a name

// `does`: {live, open, fork, remove, choose(on), tags(list), find(word)}: what can be done with it.
export function runRow(name, columns, does) {
  const cells = columns.map((label) => h("td", { "data-label": label || null }));
  const node = h("tr", { "data-run": name }, cells);
  const told = h("td", { colspan: columns.length - 1 });
  const why = h("tr", { class: "why-row", "data-why": name }, h("td", {}), told);
  const tick = h("input", { type: "checkbox", "aria-label": `select ${name} to compare`, onchange: (event) => does.choose(event.target.checked) });
  const tags = h("div", { class: "run-tags" });
  let last = "";
  let shownTags = null;

  function fill(run) {
    // Tags hold a box that is being typed in: they are drawn anew only when they have changed.
    if (JSON.stringify(run.tags) !== shownTags) {
      shownTags = JSON.stringify(run.tags);
      drawTags(run.tags || []);
    }
    const now = JSON.stringify([run.state, run.done, run.steps, run.bytes, run.trouble, run.bits_per_byte, run.settings]);
    if (now === last) return;
    last = now;
    node.dataset.state = run.state;
    node.done = run.done || 0;
    node.size = run.bytes;
    node.trouble = Boolean(run.trouble);
    const [, who, state, steps, loss, validation, bits, speed, disk, acts] = cells;
    put(state, h("span", { class: `state ${run.state}` }, run.state));
    put(told, run.trouble ? trouble(run.trouble) : null);
    if (!acts.childElementCount && does.live) put(acts, h("div", { class: "row tight" }, run.model && run.model !== "ngram" ? button("Fork", () => does.fork(node.done), { class: "small", "aria-label": `Fork ${name}` }) : null, button("Delete", () => does.remove(node.size), { class: "small danger", "aria-label": `Delete ${name}` })));
    if (does.live && run.model && !tick.isConnected) cells[0].append(tick);
    const link = run.model ? h("a", { class: "name", href: `#/live?run=${encodeURIComponent(name)}`, onclick: (event) => (event.preventDefault(), does.open()) }, name) : h("span", { class: "name" }, name);
    if (!who.childElementCount) put(who, link, h("div", { class: "quiet small" }, run.model ? `${run.model} on ${run.text}` : "", run.origin ? [h("br", {}), run.origin] : null), (who.settings = h("div", { class: "quiet small run-settings" })), tags);
    put(who.settings, settingsOf(run));
    if (!run.model) return;
    put(steps, count(run.done), h("span", { class: "quiet" }, ` of ${count(run.steps)}`), h("progress", { max: run.steps, value: run.done, "aria-label": "steps done" }));
    put(loss, h("div", { class: "row tight" }, sparkline(run.spark.step.data, run.spark.loss.data), digits(run.loss)));
    put(validation, digits(run.validation));
    put(bits, digits(run.bits_per_byte));
    put(speed, run.tokens_per_second === null ? "–" : count(run.tokens_per_second));
    put(disk, bytes(run.bytes));
  }

  function drawTags(found) {
    const chip = (tag) => h("span", { class: "tag" }, button(tag, () => does.find(tag), { class: "link", title: `show the runs tagged ${tag}` }), does.live ? button("×", () => does.tags(found.filter((each) => each !== tag)), { class: "link", "aria-label": `Remove the tag ${tag} from ${name}` }) : null);
    const box = h("input", { type: "text", size: 10, maxlength: 40, placeholder: "new tag", "aria-label": `New tag for ${name}`, hidden: true });
    const more = does.live ? button("+ tag", () => ((box.hidden = false), (more.hidden = true), box.focus()), { class: "link quiet", "aria-label": `Tag ${name}` }) : null;
    const close = () => ((box.hidden = true), (more.hidden = false), (box.value = ""));
    const add = async () => {
      const words = box.value.split(",").map((word) => word.trim()).filter(Boolean);
      if (words.length) await does.tags([...found, ...words]);
      close();
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") add().then(() => tags.querySelector("button[aria-label^='Tag']")?.focus());
      if (event.key === "Escape") close(), more.focus();
    });
    box.addEventListener("blur", () => box.hidden || add());
    put(tags, found.map(chip), more, box);
  }

  return { node, why, tick, fill };
}

function settingsOf(run) {
  const all = Object.entries(run.settings || {}).filter(([name, value]) => value !== null && !/^(data|hardware|record)\.|^steps$|^model\.kind$/.test(name));
  if (!all.length) return [];
  const one = ([name, value]) => h("span", { class: "setting", title: `${name} = ${said(value)}` }, `${lastOf(name)} ${said(value)}`);
  return [all.slice(0, SHOWN).map(one), all.length > SHOWN ? h("span", { class: "setting", title: all.slice(SHOWN).map(([name, value]) => `${name} = ${said(value)}`).join("\n") }, `and ${all.length - SHOWN} more`) : null];
}
