// Where steps and values lie on a chart, the ticks of its axes, and lines through points.

import { h, s } from "./dom.js";
import { count, number, short } from "./number.js";

export const MARGIN = { left: 62, right: 14, top: 10, bottom: 38 };
const LEAST = 4; // ticks of an axis

// `range` is the stretch of steps that is shown; none: all of them.
export function scalesOf(series, log, width, height, range) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const each of series) {
    for (let i = 0; i < each.steps.length; i++) {
      const value = number(each.values[i]);
      const out = range && (each.steps[i] < range[0] || each.steps[i] > range[1]);
      if (out || !Number.isFinite(value) || (log && value <= 0)) continue;
      left = Math.min(left, each.steps[i]);
      right = Math.max(right, each.steps[i]);
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (left > right) return { x: () => NaN, y: () => NaN, step: () => 0, left: 0, right: 0, ticksX: [], ticksY: [] };
  if (range) [left, right] = range;
  const last = right;
  if (left === right) right = left + 1;
  const to = log ? Math.log10 : (v) => v;
  let [bottom, top] = [to(low), to(high)];
  const room = (top - bottom || Math.abs(top) || 1) * 0.06;
  [bottom, top] = [bottom - room, top + room];
  if (!log && low >= 0 && bottom < 0) bottom = 0;
  const [w, k] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  return {
    left,
    right: last,
    x: (step) => MARGIN.left + ((step - left) / (right - left)) * w,
    y: (value) => (log && value <= 0 ? NaN : MARGIN.top + (1 - (to(value) - bottom) / (top - bottom)) * k),
    step: (x) => left + ((x - MARGIN.left) / w) * (right - left),
    ticksX: several(left, right, Math.max(LEAST, Math.floor(w / 90))).filter(Number.isInteger),
    ticksY: log ? powers(10 ** bottom, 10 ** top) : several(bottom, top, LEAST),
  };
}

// Round values, at least four of them.
function several(low, high, about) {
  let found = [];
  for (let more = about; found.length < LEAST && more < 4 * about; more++) found = ticks(low, high, more);
  return found;
}

const WIDE = 6.6; // px of a figure of a tick

// Every tick, or every second, third …, so that their figures don't touch.
export function apart(steps, x, every = 1) {
  const kept = steps.filter((_, i) => i % every === 0);
  const half = (step) => (WIDE * count(step).length) / 2 + 3;
  const touch = kept.some((step, i) => i && x(step) - x(kept[i - 1]) < half(step) + half(kept[i - 1]));
  return touch && kept.length > 2 ? apart(steps, x, every + 1) : kept;
}

export function ticks(low, high, about) {
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
  return found.length >= LEAST ? found : several(low, high, LEAST).filter((value) => value > 0);
}

export function axesOf({ x, y, ticksX, ticksY }, width, height, name) {
  const base = height - MARGIN.bottom;
  const middle = (MARGIN.top + base) / 2;
  return [
    ticksY.map((value) => [s("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }), s("text", { class: "tick-y", x: MARGIN.left - 8, y: y(value), dy: "0.32em", "text-anchor": "end" }, plain(value))]),
    s("line", { class: "base", x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base }),
    apart(ticksX, x).map((step) => s("text", { class: "tick-x", x: x(step), y: base + 16, "text-anchor": x(step) > width - 30 ? "end" : "middle", dx: x(step) > width - 30 ? MARGIN.right : 0 }, count(step))),
    s("text", { class: "axis-name", x: (MARGIN.left + width) / 2, y: height - 5, "text-anchor": "middle" }, "step"),
    s("text", { class: "axis-name", transform: `translate(11 ${middle}) rotate(-90)`, "text-anchor": "middle" }, name),
  ];
}

function plain(value) {
  if (Math.abs(value) >= 1e4 && Math.abs(value) < 1e7) return `${plain(value / 1000)}k`; // room is short beside the axis
  return short(value).replace(/(\.\d*?)0+(?=$|e)/, "$1").replace(/\.(?=$|e)/, "");
}

export function lineOf(each, { x, y }, range) {
  let path = "";
  let pen = "M";
  const inside = (step) => !range || (step >= range[0] && step <= range[1]);
  for (let i = 0; i < each.steps.length; i++) {
    if (!inside(each.steps[i])) continue;
    const at = y(number(each.values[i]));
    if (!Number.isFinite(at)) {
      pen = "M"; // a gap
      continue;
    }
    path += `${pen}${x(each.steps[i]).toFixed(1)} ${at.toFixed(1)}`;
    pen = "L";
  }
  const dots = each.dots && each.steps.length <= 200 ? [...each.steps].map((step, i) => (inside(step) ? s("circle", { cx: x(step), cy: y(number(each.values[i])), r: 2.5, style: { fill: each.colour } }) : null)).filter((dot) => dot && dot.getAttribute("cy") !== "NaN") : [];
  return [s("path", { d: path, class: each.faded ? "line faded" : "line", style: { stroke: each.colour, "stroke-width": each.width || 1.5 } }), dots];
}

export function marksOf(marks, { x, left, right }, height) {
  return marks.map((mark) => {
    const at = x(mark.step);
    if (!Number.isFinite(at) || mark.step < left || mark.step > right) return null;
    return s("g", { class: `mark ${mark.kind || ""}` }, s("line", { x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }), s("path", { d: `M${at - 5} ${MARGIN.top}h10l-5 8z` }), s("title", {}, mark.text));
  });
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

// A line without axes, for a table.
export function sparkline(steps, values, width = 120, height = 28) {
  const finite = [...values].map(number).filter(Number.isFinite);
  if (finite.length < 2) return null;
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const [from, to] = [steps[0], steps[steps.length - 1]];
  const scales = { x: (step) => 1 + ((step - from) / (to - from || 1)) * (width - 2), y: (v) => 2 + (1 - (v - low) / (high - low || 1)) * (height - 4) };
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "sparkline", role: "img", "aria-label": `loss from ${short(values[0])} to ${short(values[values.length - 1])}` }, lineOf({ steps, values, colour: "var(--accent)" }, scales));
}

// The points as a table, at most 200 rows of them.
export function tableOf(series) {
  const all = [...new Set(series.flatMap((each) => [...each.steps]))].sort((a, b) => a - b);
  const every = Math.max(1, Math.ceil(all.length / 200));
  const chosen = all.filter((_, i) => i % every === 0 || i === all.length - 1);
  const at = series.map((each) => new Map([...each.steps].map((step, i) => [step, each.values[i]])));
  const head = h("tr", {}, h("th", { scope: "col" }, "step"), series.map((each) => h("th", { scope: "col" }, each.name)));
  const body = chosen.map((step) => h("tr", {}, h("th", { scope: "row" }, count(step)), at.map((values) => h("td", { title: values.has(step) ? String(number(values.get(step))) : null }, values.has(step) ? short(values.get(step)) : ""))));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, body));
}
