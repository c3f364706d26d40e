// View 4: the model left to right, a ribbon for each token; a block opens between its neighbours, a
// head shows who reads whom, the right end writes on, and backward the same picture shows gradients.

import { asks, go, remember } from "../lib/ask.js";
import { arcs } from "../lib/arcs.js";
import { about, askTraced, lossOf, where } from "../lib/asked.js";
import { failed } from "../lib/failed.js";
import { copies } from "../lib/copy.js";
import { button, h, keeping, put, s, scrolls, trouble } from "../lib/dom.js";
import { matrix, visible } from "../lib/matrix.js";
import { formula } from "../lib/mathml.js";
import { full, probability, short } from "../lib/number.js";
import { strips } from "../lib/strips.js";
import { writing } from "../lib/writing.js";

const [CELL, TALL, BETWEEN] = [18, 22, 30]; // pixels: a cell's width, a token's height, a ribbon's length

function render({ model, el }) {
  let state = { example: 0, open: "", head: 0, backward: false, ...model.get("params") };
  let asked = 0;
  let shown = null; // the answer that is drawn
  let from = 0; // the first of the columns that are drawn
  const bar = h("div", {});
  const wait = h("div", {});
  const body = h("div", {});
  const foot = h("div", {});
  const writes = writing(model, state.run, (text) => change({ text, example: 0 }));
  put(el, h("div", { class: "head" }, h("h1", {}, "Flow")), bar, wait, body, foot);
  change({});
  const wider = new ResizeObserver(() => shown && fits(shown) !== shown.fits && keeping(el, () => draw(shown, false)));
  wider.observe(el);
  return () => {
    asked += 1;
    writes.stop();
    wider.disconnect();
  };

  async function change(changes) {
    if (asked && !asks(model)) return;
    const opened = "open" in changes && changes.open !== state.open;
    state = { ...state, ...changes };
    const mine = ++asked;
    const params = about(state);
    for (const name of ["example", "open", "head", "backward"]) if (state[name]) params[name] = state[name];
    remember(model, params);
    body.dataset.busy = "";
    try {
      const answer = (mine === 1 && model.get("answer")) || (await askTraced(model, "flow", params, wait));
      if (mine === asked) keeping(el, () => show(answer, opened));
    } catch (error) {
      if (mine !== asked) return;
      if (!bar.childElementCount) return failed(model, el, error, h("h1", {}, "Flow"));
      put(wait, trouble(error));
    }
    delete body.dataset.busy;
    el.dataset.ready = String(mine);
  }

  function show(answer, opened) {
    if (answer.text) state.text = answer.text; // the sentence it began with, so that going on keeps it
    state.step = answer.step;
    const example = h("select", { "aria-label": "Example", onchange: () => change({ example: Number(example.value) }) }, Array.from({ length: Math.min(64, answer.examples) }, (_, i) => h("option", { value: i }, `example ${i}`)));
    example.value = answer.example;
    const way = (name, on) => button(name, () => change({ backward: on }), { "aria-pressed": String(answer.backward === on) });
    const modes = h("span", { class: "row tight", role: "group", "aria-label": "What the picture shows" }, way("Values, forward", false), way("Gradients, backward", true));
    put(bar, where(answer, (changed) => change({ ...changed, example: 0 })), h("div", { class: "row quiet flow-bar" }, modes, answer.examples > 1 ? example : null, h("span", {}, lossOf(answer))));
    draw(answer, opened);
    put(foot, copies(answer));
    if (asks(model)) writes.update(answer);
  }

  function draw(answer, opened) {
    shown = answer;
    shown.fits = fits(answer);
    const hint = answer.backward ? "\u2202loss/\u2202x for each number x: raising it raises the loss (\u25b2 orange) or lowers it (\u25bc blue). Gradients flow from right to left. Click a cell to see how it was computed." : "Hover over a cell to see its value; click it to see how it was computed. Click a module\u2019s name to look inside.";
    put(body, h("div", { class: "row flow-hint" }, h("p", { class: "quiet small" }, hint), pager(answer)), stream(answer, opened), asks(model) && !beside() ? writes.node : null);
    if (opened && answer.open) body.querySelector(".flow-inside")?.scrollIntoView({ block: "nearest", inline: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  // The next token stands at the right end where there is room, else below.
  function beside() {
    return el.clientWidth >= 1000;
  }

  // How many numbers of each token fit, so that the whole model is as wide as the page.
  function fits(answer) {
    const stages = answer.stages.filter((stage) => stage.tile).length || 1;
    const room = el.clientWidth - 80 - (answer.predictions.length ? 150 : 0) - (answer.text && beside() ? 270 : 0);
    return Math.max(4, Math.min(16, Math.floor((room / stages - BETWEEN) / CELL)));
  }

  function pager(answer) {
    const widest = Math.max(...answer.stages.map((stage) => stage.tile?.values.shape[1] ?? 0));
    const count = answer.fits;
    if (widest <= count) return null;
    const turn = (by) => {
      from = Math.max(0, Math.min(widest - count, from + by * count));
      keeping(el, () => draw(answer, false));
    };
    return h("span", { class: "row tight" }, button("\u2190", () => turn(-1), { class: "small", "data-local": "", "aria-label": "Previous numbers of each token", disabled: from === 0 }), h("span", { class: "quiet small number" }, `numbers ${from} to ${Math.min(widest, from + count) - 1}`), button("\u2192", () => turn(1), { class: "small", "data-local": "", "aria-label": "Next numbers of each token", disabled: from + count >= widest }));
  }

  function pick(address) {
    go(model, "cell", { ...about(state), address });
  }

  // The residual stream: one column for each module, one ribbon for each token.
  function stream(answer, opened) {
    const stages = answer.stages.filter((stage) => stage.tile);
    const tokens = (stage) => h("div", { class: "flow-tokens" }, h("div", { class: "flow-name quiet" }, stages.at(-1).stream ? (stage.stream ? "target" : "source") : "tokens"), h("div", { class: "flow-rows" }, Array.from({ length: stage.tile.values.shape[0] }, (_, i) => h("span", { class: "flow-token", title: stage.tile.row_labels?.[i] }, visible(stage.tile.row_labels?.[i] ?? String(i))))));
    const between = (a, b) => (a.stream === b.stream ? ribbons(a, b) : [crossing(a), tokens(b)]);
    const columns = stages.map((stage, i) => [i ? between(stages[i - 1], stage) : tokens(stage), column(stage, answer), stage.name.split("#")[0] === answer.open ? inside(answer, opened) : null]);
    return h("div", scrolls("The model from left to right", "flow-scroll"), h("div", { class: `flow${answer.backward ? " backward" : ""}`, style: { "--tall": `${TALL}px` } }, columns, predictions(answer), asks(model) && beside() ? writes.node : null));
  }

  // From one text to another no token leads to a token: each of the target reads all of the source.
  function crossing(before) {
    return h("div", { class: "flow-cross quiet small" }, h("span", {}, `each target token reads all ${before.tile.rows} source vectors through cross-attention \u2192`));
  }

  function column(stage, answer) {
    const path = stage.name.split("#")[0];
    const open = path === answer.open;
    const title = stage.opens ? button(open ? `${path} \u25be` : `${path} \u25b8`, () => change({ open: open ? "" : path, head: 0 }), { class: "link stage-name", "aria-expanded": String(open), title: stage.module }) : h("span", { class: "stage-name", title: stage.module }, path);
    return h("div", { class: `flow-stage${open ? " open" : ""}` }, h("div", { class: "flow-name" }, title, h("span", { class: "quiet small" }, `${stage.tile.columns} numbers`)), strips(stage.tile, { from, count: answer.fits, wide: CELL, tall: TALL, pick }));
  }

  // From each token's strip to its next one; backward they lead the other way.
  function ribbons(before, after) {
    const [a, b] = [before.tile.values.shape[0], after.tile.values.shape[0]];
    const rows = Math.min(a, b);
    const tip = (i) => (shown.backward ? `M${BETWEEN} ${i * TALL + 4}H9L2 ${(i + 0.5) * TALL}L9 ${(i + 1) * TALL - 4}H${BETWEEN}Z` : `M0 ${i * TALL + 4}H${BETWEEN - 9}L${BETWEEN - 2} ${(i + 0.5) * TALL}L${BETWEEN - 9} ${(i + 1) * TALL - 4}H0Z`);
    return h("div", { class: "flow-between", "aria-hidden": "true" }, h("div", { class: "flow-name" }), s("svg", { width: BETWEEN, height: Math.max(a, b) * TALL }, Array.from({ length: rows }, (_, i) => s("path", { d: tip(i), class: "ribbon" }))));
  }

  function predictions(answer) {
    if (!answer.predictions.length) return null;
    const row = (p) => (p === null ? h("span", { class: "flow-next", title: "padding: no prediction here" }) : h("span", { class: "flow-next", title: p.target === null ? null : `target '${visible(p.target)}': P = ${full(p.p_target)}` }, p.tokens.map((token, i) => h("span", { class: token === p.target ? "hit" : null, style: { opacity: 0.35 + 0.65 * p.p[i] } }, visible(token))), h("span", { class: "quiet number" }, probability(p.p[0]))));
    return h("div", { class: "flow-out" }, h("div", { class: "flow-name quiet" }, "most likely next"), h("div", { class: "flow-rows" }, answer.predictions.map(row)));
  }

  // What a module made inside, between it and the next one.
  function inside(answer, opened) {
    const heads = answer.backward ? [] : answer.attention.map((one) => attention(answer, one));
    const parts = answer.inside.map((each) => matrix(each.tile, { title: each.words || each.name.slice(answer.open.length + 1), role: each.role, size: Math.max(3, Math.min(9, Math.floor(230 / each.tile.values.shape[1]))), labels: false, pick }));
    return h("section", { class: `panel flow-inside${opened ? " opens" : ""}`, "aria-label": `inside ${answer.open}` }, h("div", { class: "head" }, h("h2", {}, `Inside ${answer.open}`), button("Close", () => change({ open: "" }), { class: "small" })), heads, h("h2", {}, "Values, in the order they are computed"), h("div", { class: "grid-matrices" }, parts));
  }

  function attention(answer, one) {
    const tabs = Array.from({ length: one.heads }, (_, i) => button(`head ${i}`, () => change({ head: i }), { class: "small", "aria-pressed": String(i === one.head) }));
    const square = (tile) => Math.max(4, Math.min(14, Math.floor(250 / Math.max(...tile.values.shape))));
    const flat = (tile) => Math.max(4, Math.min(9, square(tile)));
    const draw = (key, title, role) => (one[key] ? matrix(one[key], { title, role, size: role ? flat(one[key]) : square(one[key]), pick, labels: true }) : null);
    const stage = (number, title, ...children) => h("div", { class: "att-stage" }, h("h3", {}, h("span", { class: "step-number" }, number), title), h("div", { class: "row att-row" }, children));
    return h(
      "div",
      { class: "attention" },
      h("div", { class: "row" }, h("h2", {}, one.module), h("span", { class: "row tight", role: "group", "aria-label": "Head" }, tabs)),
      one.weights ? arcs(one.weights, pick) : null,
      h("details", { class: "behind att-steps", "data-local": "", open: true }, h("summary", {}, "step by step: query times key, softmax, weighted values"), h("div", { class: "att" }, [
        stage("1", "query times key", draw("q", "query q", "q"), draw("k", "key k", "k"), draw("products", "q\u00b7k\u1d40, recomputed")),
        stage("2", h("span", {}, "scale and mask ", one.scale === null ? null : h("span", { class: "quiet" }, `\u00d7 ${short(one.scale)}; crossed out: masked`)), draw("scores", "scores")),
        stage("3", h("span", {}, "softmax ", formula("e^x[i] / \u03a3\u2096 e^x[k]")), draw("weights", "weights: each row adds up to 1"), draw("dropped", "after dropout")),
        stage("4", "weighted values", draw("v", "value v", "v"), draw("mixed", "weights \u00b7 v")),
      ])),
    );
  }
}

export default { render };
