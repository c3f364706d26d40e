// A line chart over steps: drawn at once as SVG, with a cursor for mouse and keyboard, a pick, a
// table behind it, and plotly on request (in the studio's page) to zoom and pan.

import { button, h, put, s } from "./dom.js";
import { count, full, number, short } from "./number.js";

const MARGIN = { left: 52, right: 14, top: 10, bottom: 26 };

// series: [{ name, colour (a CSS value), steps, values, dots, width }]; steps and values are arrays or typed
// arrays of one length. Options: title, height, log, pick(step), marks: [{ step, text }], zoom.
// Returns { node, update(series, marks), select(step) }.
export function chart(options) {
  const { title, height = 190, pick, zoom = false } = options;
  const state = { series: [], marks: options.marks || [], cursor: null, selected: null, log: options.log || false, width: 0 };
  const legend = h("div", { class: "legend" });
  const svg = s("svg", { role: "img", "aria-label": title, tabindex: 0, height, class: "chart-area" });
  const table = h("tbody", {});
  const columns = h("tr", {});
  const behind = h("details", { class: "behind" }, h("summary", {}, "Table"), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, columns), table)));
  const tools = h("div", { class: "tools" });
  const node = h("figure", { class: "chart" }, h("figcaption", {}, h("span", { class: "title" }, title), legend, tools), svg, behind);

  const lines = s("g", {});
  const axes = s("g", { class: "axes" });
  const cursor = s("g", { class: "cursor", "pointer-events": "none" });
  svg.append(axes, lines, cursor);

  tools.append(button("log", () => ((state.log = !state.log), draw()), { class: "small toggle", title: "logarithmic scale", "aria-pressed": "false" }));
  if (zoom) tools.append(button("zoom", explore, { class: "small", title: "zoom and pan" }));
  behind.addEventListener("toggle", rows);

  let scales = null;

  function draw() {
    tools.firstChild.setAttribute("aria-pressed", String(state.log));
    const width = state.width || 640;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    scales = scalesOf(state, width, height);
    put(axes, axesOf(scales, width, height));
    const empty = !scales.ticksX.length && !state.series.some((each) => each.steps.length);
    put(lines, empty ? s("text", { x: width / 2, y: height / 2, class: "empty", "text-anchor": "middle" }, "no steps yet") : null, state.series.map((each) => lineOf(each, scales)), marksOf(state.marks, scales, height));
    point();
    if (behind.open) rows();
  }

  function point() {
    const step = state.cursor ?? state.selected;
    put(cursor);
    const values = state.series.map((each) => ({ each, at: nearest(each.steps, step) }));
    put(
      legend,
      values.map(({ each, at }) => {
        const last = step === null ? each.values.length - 1 : at;
        const value = last >= 0 ? number(each.values[last]) : null;
        const other = step !== null && last >= 0 && each.steps[last] !== step ? h("span", { class: "at" }, ` at ${count(each.steps[last])}`) : null;
        return h("span", { class: "key", style: { "--colour": each.colour } }, each.name, " ", h("span", { class: "number", title: full(value) }, short(value)), other);
      }),
      step === null ? null : h("span", { class: "key step" }, `step ${count(step)}`),
    );
    if (step === null || !scales) return;
    const x = scales.x(step);
    cursor.append(s("line", { x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom }));
    for (const { each, at } of values) {
      if (at < 0) continue;
      const y = scales.y(number(each.values[at]));
      if (Number.isFinite(y)) cursor.append(s("circle", { cx: scales.x(each.steps[at]), cy: y, r: 3.5, fill: each.colour, style: { fill: each.colour } }));
    }
  }

  function rows() {
    if (!behind.open) return;
    const all = [...new Set(state.series.flatMap((each) => [...each.steps]))].sort((a, b) => a - b);
    const every = Math.max(1, Math.ceil(all.length / 200));
    const chosen = all.filter((_, i) => i % every === 0 || i === all.length - 1);
    const at = state.series.map((each) => new Map([...each.steps].map((step, i) => [step, each.values[i]])));
    put(columns, h("th", { scope: "col" }, "step"), state.series.map((each) => h("th", { scope: "col" }, each.name)));
    put(table, chosen.map((step) => h("tr", {}, h("th", { scope: "row" }, count(step)), at.map((values) => h("td", { title: full(values.get(step)) }, values.has(step) ? short(values.get(step)) : "")))));
  }

  function move(step) {
    state.cursor = step;
    point();
  }

  svg.addEventListener("pointermove", (event) => {
    if (!scales) return;
    move(closest(state.series, scales.step(event.clientX - svg.getBoundingClientRect().left)));
  });
  svg.addEventListener("pointerleave", () => move(null));
  svg.addEventListener("click", () => state.cursor !== null && pick?.(state.cursor));
  svg.addEventListener("blur", () => move(null));
  svg.addEventListener("keydown", (event) => {
    const steps = [...new Set(state.series.flatMap((each) => [...each.steps]))].sort((a, b) => a - b);
    if (!steps.length) return;
    const here = state.cursor === null ? steps.length - 1 : steps.indexOf(state.cursor);
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -steps.length, End: steps.length }[event.key];
    if (jump) move(steps[Math.max(0, Math.min(steps.length - 1, here + jump))]);
    else if (event.key === "Enter" && state.cursor !== null) pick?.(state.cursor);
    else return;
    event.preventDefault();
  });
  if (pick) svg.classList.add("picks");

  const observer = new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== state.width) {
      state.width = width;
      draw();
    }
  });
  observer.observe(node);

  async function explore() {
    const place = h("div", { class: "plotly", style: { height: `${Math.max(height, 340)}px` } });
    try {
      await plotly();
    } catch (error) {
      tools.append(h("span", { class: "quiet" }, error.message));
      return;
    }
    const style = getComputedStyle(node);
    svg.replaceWith(place);
    tools.lastChild.replaceWith(button("close zoom", (event) => {
      globalThis.Plotly.purge(place);
      place.replaceWith(svg);
      event.target.replaceWith(button("zoom", explore, { class: "small", title: "zoom and pan" }));
      draw();
    }, { class: "small" }));
    const ink = style.getPropertyValue("--quiet").trim();
    const line = style.getPropertyValue("--line").trim();
    const colour = (css) => style.getPropertyValue(css.replace(/^var\((.*)\)$/, "$1")).trim() || css;
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
    globalThis.Plotly.newPlot(
      place,
      state.series.map((each) => ({ x: [...each.steps], y: [...each.values].map(number), name: each.name, mode: each.dots ? "lines+markers" : "lines", line: { color: colour(each.colour), width: 1.5 } })),
      { margin: { l: 56, r: 12, t: 8, b: 36 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui" }, xaxis: { ...axis, title: { text: "step" } }, yaxis: { ...axis, type: state.log ? "log" : "linear" }, hovermode: "x unified", showlegend: false },
      { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] },
    );
  }

  const made = {
    node,
    update(series, marks) {
      state.series = series;
      if (marks) state.marks = marks;
      draw();
    },
    select(step) {
      state.selected = step;
      point();
    },
    close: () => observer.disconnect(),
  };
  made.update(options.series || []);
  return made;
}

let loading = null;

function plotly() {
  if (globalThis.Plotly) return Promise.resolve();
  loading ??= new Promise((resolve, reject) => {
    const failed = () => ((loading = null), reject(new Error("plotly could not be loaded")));
    document.head.append(h("script", { src: "/plotly.min.js", onload: resolve, onerror: failed }));
  });
  return loading;
}

function closest(series, wanted) {
  let best = null;
  for (const each of series) {
    const at = nearest(each.steps, wanted);
    if (at >= 0 && (best === null || Math.abs(each.steps[at] - wanted) < Math.abs(best - wanted))) best = each.steps[at];
  }
  return best;
}

// The place in sorted steps that lies nearest.
export function nearest(steps, wanted) {
  if (!steps.length || wanted === null) return steps.length - 1;
  let low = 0;
  let high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - steps[low - 1] <= steps[low] - wanted ? low - 1 : low;
}

function scalesOf({ series, log }, width, height) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const each of series) {
    for (let i = 0; i < each.steps.length; i++) {
      const value = number(each.values[i]);
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      left = Math.min(left, each.steps[i]);
      right = Math.max(right, each.steps[i]);
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (left > right) return { x: () => NaN, y: () => NaN, step: () => 0, ticksX: [], ticksY: [] };
  if (left === right) right = left + 1;
  const to = log ? Math.log10 : (v) => v;
  let [bottom, top] = [to(low), to(high)];
  const room = (top - bottom || Math.abs(top) || 1) * 0.06;
  [bottom, top] = [bottom - room, top + room];
  if (!log && low >= 0 && bottom < 0) bottom = 0;
  const [w, k] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  return {
    x: (step) => MARGIN.left + ((step - left) / (right - left)) * w,
    y: (value) => (log && value <= 0 ? NaN : MARGIN.top + (1 - (to(value) - bottom) / (top - bottom)) * k),
    step: (x) => left + ((x - MARGIN.left) / w) * (right - left),
    ticksX: ticks(left, right, Math.max(2, Math.floor(w / 90))).filter(Number.isInteger),
    ticksY: log ? powers(10 ** bottom, 10 ** top) : ticks(bottom, top, height < 180 ? 3 : 4),
  };
}

function ticks(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const found = [];
  for (let k = Math.ceil(low / size); k * size <= high + size * 1e-9; k++) found.push(Number((k * size).toPrecision(12)));
  return found;
}

function powers(low, high) {
  const found = [];
  const fine = Math.log10(high / low) < 1.5 ? [1, 2, 3, 5] : Math.log10(high / low) < 4 ? [1, 3] : [1];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) for (const m of fine) if (m * 10 ** e >= low && m * 10 ** e <= high) found.push(m * 10 ** e);
  return found.length > 1 ? found : ticks(low, high, 3).filter((value) => value > 0);
}

function axesOf({ x, y, ticksX, ticksY }, width, height) {
  const base = height - MARGIN.bottom;
  return [
    ticksY.map((value) => [s("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }), s("text", { x: MARGIN.left - 8, y: y(value), dy: "0.32em", "text-anchor": "end" }, short(value).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""))]),
    s("line", { class: "base", x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base }),
    ticksX.map((step) => s("text", { x: x(step), y: base + 16, "text-anchor": x(step) > width - 30 ? "end" : "middle", dx: x(step) > width - 30 ? MARGIN.right : 0 }, count(step))),
  ];
}

function lineOf(each, { x, y }) {
  let path = "";
  let pen = "M";
  for (let i = 0; i < each.steps.length; i++) {
    const at = y(number(each.values[i]));
    if (!Number.isFinite(at)) {
      pen = "M"; // a gap
      continue;
    }
    path += `${pen}${x(each.steps[i]).toFixed(1)} ${at.toFixed(1)}`;
    pen = "L";
  }
  const dots = each.dots && each.steps.length <= 200 ? [...each.steps].map((step, i) => s("circle", { cx: x(step), cy: y(number(each.values[i])), r: 2.5, style: { fill: each.colour } })).filter((dot) => dot.getAttribute("cy") !== "NaN") : [];
  return [s("path", { d: path, class: "line", style: { stroke: each.colour, "stroke-width": each.width || 1.5 } }), dots];
}

function marksOf(marks, { x }, height) {
  return marks.map((mark) => {
    const at = x(mark.step);
    return Number.isFinite(at) ? s("g", { class: "mark" }, s("line", { x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }), s("title", {}, mark.text)) : null;
  });
}

// A line without axes, for a table.
export function sparkline(steps, values, width = 120, height = 28) {
  const finite = [...values].map(number).filter(Number.isFinite);
  if (finite.length < 2) return null;
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const [from, to] = [steps[0], steps[steps.length - 1]];
  const scales = { x: (step) => 1 + ((step - from) / (to - from || 1)) * (width - 2), y: (v) => 2 + (1 - (v - low) / (high - low || 1)) * (height - 4) };
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "sparkline", role: "img", "aria-label": `loss from ${short(values[0])} to ${short(values[values.length - 1])}` }, lineOf({ steps, values, colour: "var(--accent)" }, scales));
}
