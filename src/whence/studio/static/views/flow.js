// View 4: the model left to right, a ribbon for each token; a block opens in place, a head opens.

import { asks, go, remember } from "../lib/ask.js";
import { about, askTraced, where } from "../lib/asked.js";
import { failed } from "../lib/failed.js";
import { copies } from "../lib/copy.js";
import { button, h, put, s, scrolls, trouble } from "../lib/dom.js";
import { addressOf, matrix, visible } from "../lib/matrix.js";
import { formula } from "../lib/mathml.js";
import { digits, full, probability } from "../lib/number.js";

function render({ model, el }) {
  let state = { example: 0, open: "", head: 0, ...model.get("params") };
  let asked = 0;
  const bar = h("div", {});
  const wait = h("div", {});
  const body = h("div", {});
  put(el, h("div", { class: "head" }, h("h1", {}, "Flow")), bar, wait, body);
  change({});
  return () => (asked += 1);

  async function change(changes) {
    if (asked && !asks(model)) return;
    state = { ...state, ...changes };
    const mine = ++asked;
    const params = about(state);
    if (state.example) params.example = state.example;
    if (state.open) params.open = state.open;
    if (state.head) params.head = state.head;
    remember(model, params);
    body.dataset.busy = "";
    try {
      const answer = (mine === 1 && model.get("answer")) || (await askTraced(model, "flow", params, wait));
      if (mine === asked) show(answer);
    } catch (error) {
      if (mine !== asked) return;
      if (!bar.childElementCount) return failed(model, el, error, h("h1", {}, "Flow"));
      put(wait, trouble(error));
    }
    delete body.dataset.busy;
    el.dataset.ready = String(mine);
  }

  function show(answer) {
    const example = h("select", { "aria-label": "Example", onchange: () => change({ example: Number(example.value) }) }, Array.from({ length: Math.min(64, answer.examples) }, (_, i) => h("option", { value: i }, `example ${i}`)));
    example.value = answer.example;
    put(bar, where(answer, (changed) => change({ ...changed, example: 0 })), h("p", { class: "row quiet" }, answer.examples > 1 ? example : null, h("span", {}, "loss ", digits(answer.loss)), h("span", {}, answer.notes.join("; "))));
    put(body, stream(answer), answer.open ? inside(answer) : h("p", { class: "quiet" }, "Click a module's name to open it in place; click a cell to open its arithmetic."), copies(answer));
  }

  function pick(address) {
    go(model, "cell", { ...about(state), address });
  }

  // The residual stream: one column for each module, one ribbon for each token.
  function stream(answer) {
    const stages = answer.stages.filter((stage) => stage.tile);
    const rows = Math.max(...stages.map((stage) => stage.tile.values.shape[0]), 1);
    const tall = Math.max(14, Math.min(20, Math.floor(560 / rows)));
    const tokens = (stage) => h("div", { class: "flow-tokens" }, h("div", { class: "flow-name quiet" }, stages.at(-1).stream ? (stage.stream ? "target" : "source") : "tokens"), h("div", { class: "flow-rows" }, Array.from({ length: stage.tile.values.shape[0] }, (_, i) => h("span", { class: "flow-token", title: stage.tile.row_labels?.[i] }, visible(stage.tile.row_labels?.[i] ?? String(i))))));
    const between = (a, b) => (a.stream === b.stream ? ribbons(a, b, tall) : [crossing(a), tokens(b)]);
    const columns = stages.map((stage, i) => [i ? between(stages[i - 1], stage) : tokens(stage), column(stage, tall, answer)]);
    return h("div", scrolls("The model from left to right", "flow-scroll"), h("div", { class: "flow", style: { "--tall": `${tall}px` } }, columns, predictions(answer, tall)));
  }

  // From one text to another no token leads to a token: each of the target reads all of the source.
  function crossing(before) {
    return h("div", { class: "flow-cross quiet small" }, h("span", {}, `all ${before.tile.rows} vectors are read by each token of the target, through cross-attention \u2192`));
  }

  function column(stage, tall, answer) {
    const path = stage.name.split("#")[0];
    const open = path === answer.open;
    const title = stage.opens ? button(open ? `${path} \u25be` : `${path} \u25b8`, () => change({ open: open ? "" : path, head: 0 }), { class: "link stage-name", "aria-expanded": String(open), title: stage.module }) : h("span", { class: "stage-name", title: stage.module }, path);
    const wide = Math.max(2, Math.min(5, Math.floor(150 / stage.tile.values.shape[1])));
    return h("div", { class: `flow-stage${open ? " open" : ""}` }, h("div", { class: "flow-name" }, title, h("span", { class: "quiet small" }, `${stage.tile.rows}\u00d7${stage.tile.columns}${stage.tile.values.shape[1] < stage.tile.columns ? `, first ${stage.tile.values.shape[1]}` : ""}`)), strips(stage.tile, wide, tall));
  }

  // One strip of colours for each token.
  function strips(tile, wide, tall) {
    const [rows, columns] = tile.values.shape;
    const values = tile.values.data;
    const most = values.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0) || 1;
    const said = h("span", { class: "flow-said number", "aria-live": "off" });
    const canvas = h("canvas", { class: "flow-cells", tabindex: "0", role: "img", "aria-label": `${tile.name}: ${rows} tokens, ${columns} numbers each; arrow keys move, Enter opens`, style: { width: `${columns * wide}px`, height: `${rows * tall}px` } });
    let cursor = [0, 0];
    const draw = () => {
      const scale = Math.max(1, window.devicePixelRatio || 1);
      const colours = getComputedStyle(canvas);
      canvas.width = columns * wide * scale;
      canvas.height = rows * tall * scale;
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < columns; c++) {
          const x = values[r * columns + c];
          pen.globalAlpha = Number.isFinite(x) ? Math.abs(x) / most : 0.1;
          pen.fillStyle = colours.getPropertyValue(x < 0 ? "--neg" : "--pos").trim();
          pen.fillRect(c * wide, r * tall + 1, wide, tall - 2);
        }
      }
    };
    const tell = ([r, c]) => {
      cursor = [r, c];
      said.textContent = `${addressOf(tile, r, c)} = ${full(values[r * columns + c])}`;
      canvas.title = said.textContent;
    };
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [Math.min(rows - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * rows))), Math.min(columns - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * columns)))];
    };
    canvas.addEventListener("pointermove", (event) => tell(at(event)));
    canvas.addEventListener("click", (event) => pick(addressOf(tile, ...at(event))));
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (way) {
        event.preventDefault();
        tell([Math.min(rows - 1, Math.max(0, cursor[0] + way[0])), Math.min(columns - 1, Math.max(0, cursor[1] + way[1]))]);
      } else if (event.key === "Enter") pick(addressOf(tile, ...cursor));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => canvas.isConnected && draw());
    requestAnimationFrame(draw);
    return h("div", { class: "flow-rows" }, canvas, said);
  }

  // From each token's strip to its next one.
  function ribbons(before, after, tall) {
    const [a, b] = [before.tile.values.shape[0], after.tile.values.shape[0]];
    const rows = Math.min(a, b);
    return h("div", { class: "flow-between", "aria-hidden": "true" }, h("div", { class: "flow-name" }), s("svg", { width: 22, height: Math.max(a, b) * tall }, Array.from({ length: rows }, (_, i) => s("rect", { x: 0, y: i * tall + 1, width: 22, height: tall - 2, class: "ribbon" }))));
  }

  function predictions(answer, tall) {
    if (!answer.predictions.length) return null;
    return h(
      "div",
      { class: "flow-out" },
      h("div", { class: "flow-name quiet" }, "likeliest next"),
      h(
        "div",
        { class: "flow-rows" },
        answer.predictions.map((p) => p === null ? h("span", { class: "flow-next", style: { height: `${tall}px` }, title: "padding: nothing is predicted here" }) : h("span", { class: "flow-next", style: { height: `${tall}px` }, title: p.target === null ? null : `target '${visible(p.target)}': P = ${full(p.p_target)}` }, p.tokens.map((token, i) => h("span", { class: token === p.target ? "hit" : null, style: { opacity: 0.35 + 0.65 * p.p[i] } }, visible(token))), h("span", { class: "quiet number" }, probability(p.p[0])))),
      ),
    );
  }

  function inside(answer) {
    const heads = answer.attention.map((one) => attention(answer, one));
    const parts = answer.inside.map((each) => matrix(each.tile, { title: each.name.slice(answer.open.length + 1), role: each.role, size: Math.max(3, Math.min(9, Math.floor(230 / each.tile.values.shape[1]))), labels: false, pick }));
    return h("section", { class: "panel inside", "aria-label": `inside ${answer.open}` }, h("div", { class: "head" }, h("h2", {}, `Inside ${answer.open}`), button("Close", () => change({ open: "" }), { class: "small" })), heads, h("h2", {}, "In order"), h("div", { class: "grid-matrices" }, parts));
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
      h("div", { class: "att" }, [
        stage("1", "query times key", draw("q", "query q", "q"), draw("k", "key k", "k"), draw("products", "q\u00b7k\u1d40, recomputed")),
        stage("2", h("span", {}, "scale and mask ", one.scale === null ? null : h("span", { class: "quiet" }, `\u00d7 ${one.scale}; crossed out: not to be read`)), draw("scores", "scores")),
        stage("3", h("span", {}, "softmax ", formula("e^x[i] / \u03a3\u2096 e^x[k]")), draw("weights", "weights: each row adds up to 1"), draw("dropped", "after dropout")),
        stage("4", "weighted values", draw("v", "value v", "v"), draw("mixed", "weights \u00b7 v")),
      ]),
    );
  }
}

export default { render };
