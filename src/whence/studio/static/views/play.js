// View 7: small models to play with. The state is all in the parameters, so that a link holds it.

import { ask, asks, first, go as toView, remember } from "../lib/ask.js";
import { chart } from "../lib/chart.js";
import { copies } from "../lib/copy.js";
import { button, h, put, scrolls, trouble } from "../lib/dom.js";
import { failed } from "../lib/failed.js";
import { fit } from "../lib/fit.js";
import { network } from "../lib/net.js";
import { count, digits, number, short, signed } from "../lib/number.js";
import { plane } from "../lib/plane.js";
import { settings } from "../lib/playground.js";
import { receipt } from "../lib/terms.js";

const FRAME = 1000 / 15;
const SPEEDS = [1, 5, 20, 100];

function render({ model, el }) {
  let params = { ...(model.get("params") || {}) };
  let answer = null;
  let playing = false;
  let speed = 1;
  let gone = false;
  let asked = 0;
  let saved = 0;
  let timer = null;

  const surface = plane();
  const net = network((name) => go({ open: params.open === name ? "" : name }), (unit) => surface.large(unit));
  const losses = chart({ title: "Loss", height: 150 });
  const line = fit();
  const parts = Object.fromEntries(["said", "form", "scale", "facts", "place", "picture", "lines", "opened", "dead", "table", "foot", "error"].map((name) => [name, h("div", { class: `play-${name}` })]));
  const play = button("Play", toggle, { class: "primary play-button" });
  const steps = {
    operation: button("Operation", operation, { title: "one value, slope or update of the next step" }),
    example: button("Example", example, { title: "the next sample of the batch" }),
    batch: button("Batch", () => go({ step: answer.step + 1 }), { title: "one update" }),
    epoch: button("Epoch", epoch, { title: "through all samples once" }),
    back: button("Back", () => go({ step: Math.max(0, answer.step - 1) }), { title: "one update back" }),
    reset: button("Reset", () => go({ step: 0, edits: [] }), { title: "back to the start, without your edits" }),
  };
  const pace = h("select", { "aria-label": "Updates per frame", onchange: (event) => (speed = Number(event.target.value)) }, SPEEDS.map((n) => h("option", { value: String(n) }, `× ${n}`)));

  const bar = h("div", { class: "row play-bar", role: "toolbar", "aria-label": "Steps", hidden: true }, play, pace, h("span", { class: "label" }, "step by"), Object.values(steps), parts.place);
  put(
    el,
    h("div", { class: "head" }, h("h1", {}, "Small models to play with"), parts.said),
    parts.form,
    bar,
    parts.error,
    parts.facts,
    h("div", { class: "play-main" }, h("div", { class: "play-left" }, h("div", { class: "panel" }, h("h2", { class: "answers" }, "What it predicts"), parts.picture), h("div", { class: "panel" }, h("h2", {}, "The next step"), parts.lines)), h("div", { class: "panel play-side" }, losses.node, h("h2", {}, "Network"), net.node, parts.scale, parts.dead)),
    parts.opened,
    parts.table,
    parts.foot,
  );

  // Ask for another state; of several questions only the latest answer is drawn.
  async function go(changes) {
    if (!asks(model)) return;
    const before = params;
    const moved = "step" in changes && changes.step !== answer?.step;
    params = clean({ ...params, ...(moved ? { op: 0, example: 0 } : {}), ...changes });
    const mine = ++asked;
    try {
      const found = await ask(model, "play", params);
      if (mine !== asked || gone) return;
      put(parts.error);
      show(found);
      if (!playing || performance.now() - saved > 1000) save();
    } catch (error) {
      if (mine !== asked || gone) return;
      stop();
      params = before;
      put(parts.error, trouble(error));
    }
  }

  function save() {
    saved = performance.now();
    remember(model, params);
  }

  function show(found) {
    answer = found;
    bar.hidden = false;
    const { picture } = found;
    net.update(found, params.open);
    put(parts.said, h("p", { class: "quiet" }, `loss: ${found.formula}`));
    settings(parts.form, found, configure, rate);
    put(parts.place, h("span", { class: "quiet", "aria-live": playing ? "off" : "polite" }, place(found)));
    put(parts.facts, facts(found));
    losses.update(curvesOf(found.curves));
    const kind = picture.kind === "plane" ? surface : picture.kind === "curve" ? line : null;
    if (!kind) put(parts.picture, tableOf(found.table));
    else if (parts.picture.firstChild !== kind.node) put(parts.picture, kind.node);
    kind?.update(picture, found.sample);
    put(parts.table, kind ? h("details", { class: "behind" }, h("summary", {}, "Samples and weights as tables"), h("div", { class: "columns" }, h("div", scrolls("Samples"), tableOf(found.table)), h("div", scrolls("Weights"), weightsOf(found.network)))) : weightsOf(found.network));
    put(parts.scale, scaleOf(found));
    put(parts.lines, linesOf(found));
    put(parts.dead, found.dead.map((each) => h("p", { class: "dead" }, h("strong", {}, "✕ "), each.why, each.receipt ? h("details", {}, h("summary", {}, "the arithmetic"), receipt(each.receipt, (name) => go({ open: name }))) : null)));
    put(parts.opened, openedOf(found));
    put(parts.foot, copies(found));
    steps.back.disabled = found.step === 0;
    el.dataset.step = found.step;
    el.dataset.op = found.op;
    el.dataset.ready = "";
  }

  function operation() {
    if (answer.op >= answer.ops) go({ step: answer.step + 1, op: 1 });
    else go({ op: answer.op + 1 });
  }

  function example() {
    if (answer.example + 1 < answer.batch) go({ example: answer.example + 1, op: 0 });
    else go({ step: answer.step + 1, example: 0 });
  }

  function epoch() {
    go({ step: (Math.floor(answer.step / answer.per_epoch) + 1) * answer.per_epoch });
  }

  function toggle() {
    if (playing) return stop();
    playing = true;
    play.textContent = "Pause";
    frame();
  }

  function stop() {
    if (playing && answer) save();
    playing = false;
    play.textContent = "Play";
    clearTimeout(timer);
  }

  // Frames wait for their answer: a slow one drops frames, never steps.
  async function frame() {
    const began = performance.now();
    await go({ step: answer.step + speed, open: "" });
    if (playing && !gone) timer = setTimeout(frame, Math.max(0, FRAME - (performance.now() - began)));
  }

  function configure(changes) {
    stop();
    const fresh = changes.data && changes.data !== answer.setup.data;
    params = fresh ? {} : params;
    go({ ...changes, step: 0, edits: [], op: 0, example: 0, open: "" });
  }

  function rate(value) {
    if (answer.step === 0) go({ rate: value, edits: (params.edits || []).filter((edit) => !edit.includes(":rate=")) });
    else edit("rate", value);
  }

  function edit(name, value) {
    const mine = `${answer.step}:${name}=`;
    const kept = answer.edits.filter((each) => !each.startsWith(mine) && Number(each.split(":")[0]) <= answer.step);
    go({ edits: [...kept, mine + value] });
  }

  function openedOf(found) {
    if (!found.receipts.length) return h("p", { class: "quiet hint" }, "Click any number in the network, or a line of the next step, to see where it comes from.");
    const name = params.open;
    const weight = findWeight(found.network, name);
    const box = weight ? h("input", { type: "text", inputmode: "decimal", value: String(number(weight.value)), "aria-label": `Value of ${name}`, size: 12 }) : null;
    const apply = (event) => {
      event.preventDefault();
      const value = Number(box.value.replace("−", "-").replace(",", "."));
      if (box.value.trim() && Number.isFinite(value)) edit(name, value);
      else put(parts.error, trouble(`${box.value ? `${box.value} isn't a number` : "No number was typed"}: type one, such as 0.5.`));
    };
    return h(
      "div",
      { class: "panel whence-of", "data-open": name },
      h("div", { class: "head" }, h("h2", {}, `Whence ${name}?`), weight ? h("form", { class: "row", onsubmit: apply }, h("label", {}, "type another value ", box), h("button", { type: "submit" }, "Set")) : null, button("Close", () => go({ open: "" }), { class: "small" })),
      h("div", { class: "columns" }, found.receipts.map((each) => receipt(each, (other) => go({ open: other })))),
    );
  }

  function linesOf(found) {
    if (!found.op) return [h("p", {}, `${capital(count(found.ops))} operations make up the next step: values forward, slopes back, then updates. Press Operation to see them one at a time.`), h("p", {}, `The loss before it is `, digits(found.loss), found.batch > 1 ? `, the mean over a batch of ${found.batch}; the network shows one sample of it.` : ".")];
    return [h("p", { class: "quiet" }, `operation ${found.op} of ${found.ops}, ${found.phase}`), h("ol", { class: "operations" }, found.lines.map(([phase, name, text], i) => h("li", { class: `${phase}${i === found.lines.length - 1 ? " last" : ""}` }, button(text, () => go({ open: name }), { class: "term" }))))];
  }

  first(model, "play", params)
    .then((found) => gone || show(found))
    .catch((error) => failed(model, el, error, h("h1", {}, "Small models to play with"), button("Begin with the hand network", () => toView(model, "play", {}), { class: "primary" })));
  return () => {
    gone = true;
    clearTimeout(timer);
    losses.close();
  };
}

function clean(params) {
  const plain = { step: 0, op: 0, example: 0, open: "" };
  return Object.fromEntries(Object.entries(params).filter(([name, value]) => value !== plain[name] && value !== null && !(name === "edits" && !value.length)));
}

function place(found) {
  const epoch = Math.floor(found.step / found.per_epoch);
  const sample = found.batch > 1 ? `, sample ${found.example + 1} of a batch of ${found.batch}` : "";
  return `step ${count(found.step)} · epoch ${count(epoch)}${sample}`;
}

function facts(found) {
  const { facts } = found;
  const percent = (x) => `${short(100 * x)} %`;
  const rows = [["loss on the next batch", digits(found.loss)], ["mean loss, last epoch", digits(facts.epoch)]];
  if (facts.held !== null) rows.push(["loss, held out", digits(facts.held)]);
  if ("right" in facts) rows.push(["accuracy", percent(facts.right)], ["accuracy, held out", percent(facts.right_held)]);
  if (facts.fit) rows.push(["the line", `${short(facts.fit.start)} ${facts.fit.change < 0 ? "−" : "+"} ${short(Math.abs(facts.fit.change))} · distance`], ["closed form", `${short(facts.closed.start)} ${facts.closed.change < 0 ? "−" : "+"} ${short(Math.abs(facts.closed.change))} · distance`], [`at ${facts.asked.distance} km (not in the data)`, digits(facts.asked.answer)]);
  rows.push(["parameters", count(facts.parameters)]);
  return h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function curvesOf({ step, epoch, held }) {
  const made = (name, colour, { steps, values }, width) => ({ name, colour, width, steps: steps.data, values: values.data });
  return [made("batch", "color-mix(in srgb, var(--quiet) 45%, var(--panel))", step, 1), made("epoch", "var(--accent)", epoch, 2), held.values.data.length ? made("held out", "var(--second)", held, 2) : null].filter(Boolean);
}

function tableOf(table) {
  return h("table", {}, h("thead", {}, h("tr", {}, table.heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, table.rows.map((row) => h("tr", {}, row.map((x) => h("td", { class: "n" }, digits(x))))), table.more ? h("tr", {}, h("td", { colspan: table.heads.length, class: "quiet" }, `and ${table.more} more`)) : null));
}

function weightsOf({ weights, layers }) {
  const all = [...weights, ...layers.flat().map((unit) => unit.bias)];
  return h("table", {}, h("thead", {}, h("tr", {}, ["weight", "value", "slope"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, all.map((w) => h("tr", {}, h("th", { scope: "row" }, w.name), h("td", { class: "n" }, signed(w.value)), h("td", { class: "n" }, w.slope === null ? "" : signed(w.slope))))));
}

function findWeight({ weights, layers }, name) {
  return [...weights, ...layers.flat().map((unit) => unit.bias)].find((w) => w.name === name);
}

// A standardised input: what the figure in its box is in the unit people use.
function scaleOf({ scale, network }) {
  const [input] = network.inputs;
  if (!scale || !input) return null;
  const x = number(input.value);
  const km = scale.mean + x * scale.deviation;
  return h("p", { class: "quiet small" }, `${input.name} ${digits(x).textContent} is ${short(km)} km, standardised: (${short(km)} \u2212 ${short(scale.mean)}) / ${short(scale.deviation)}, so that the mean, ${short(scale.mean)} km, becomes 0 and one standard deviation, ${short(scale.deviation)} km, becomes 1.`);
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

export default { render };
